//! `within`: paths at or below a folder (P17). It reads text; symbolic links are the server's affair.

use crate::policy::condition::Truth;

/// Unknown of whatever two readers might resolve differently.
pub(super) fn is_within(folder: &str, path: &str) -> Truth {
    if !is_plain(path) {
        return Truth::UNKNOWN;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_itself = folder.strip_suffix('/') == Some(path);
    (is_itself || path.starts_with(folder)).into()
}

/// Absolute, with neither dot nor empty segments, but for one final slash; and nothing that is an escape or a separator to some.
pub(super) fn is_plain(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    let is_whole = |segment: &str| !matches!(segment, "" | "." | "..");
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    !path.contains(['\\', '%'])
        && !path.chars().any(char::is_control)
        && (inner.is_empty() || segments.split('/').all(is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_within_is_the_folder_or_below_it() {
        for (folder, path, truth) in [
            ("/srv/", "/srv", Truth::TRUE),
            ("/srv/", "/srv/", Truth::TRUE),
            ("/srv/", "/srv/a", Truth::TRUE),
            ("/srv/", "/srv/a/b/", Truth::TRUE),
            ("/srv/", "/srv/.hidden", Truth::TRUE),
            ("/srv/", "/srv/a b", Truth::TRUE),
            ("/", "/", Truth::TRUE),
            ("/", "/etc", Truth::TRUE),
            ("/srv/", "/", Truth::FALSE),
            ("/srv/", "/srvx", Truth::FALSE),
            ("/srv/", "/srv2/a", Truth::FALSE),
            ("/srv/", "/SRV/a", Truth::FALSE),
            ("/srv/a/", "/srv", Truth::FALSE),
            ("/srv/", "", Truth::UNKNOWN),
            ("/srv/", "srv/a", Truth::UNKNOWN),
            ("/srv/", "./srv/a", Truth::UNKNOWN),
            ("/srv/", "~/a", Truth::UNKNOWN),
            ("/srv/", "/srv//a", Truth::UNKNOWN),
            ("/srv/", "//srv/a", Truth::UNKNOWN),
            ("/srv/", "/srv/a//", Truth::UNKNOWN),
            ("/", "//", Truth::UNKNOWN),
            ("/srv/", "/srv/./a", Truth::UNKNOWN),
            ("/srv/", "/srv/..", Truth::UNKNOWN),
            ("/srv/", "/srv/../etc", Truth::UNKNOWN),
            ("/srv/", "/etc/../srv", Truth::UNKNOWN),
            ("/srv/", "/srv\\..\\etc", Truth::UNKNOWN),
            ("/srv/", "/srv/%2e%2e/etc", Truth::UNKNOWN),
            ("/srv/", "/srv/a\0", Truth::UNKNOWN),
            ("/srv/", "/srv/a\n", Truth::UNKNOWN),
            ("/srv/", "/srv/a\u{7f}", Truth::UNKNOWN),
            ("/srv/", "C:/srv", Truth::UNKNOWN),
        ] {
            assert_eq!(is_within(folder, path), truth, "{path} in {folder}");
        }
    }
}

//! What a server might read in place of a name or URI that is not plain (P15): trimmed, without what is not plain, decoded,
//! as a path, or any of its last segments; and any of that again. In which case, is for who looks it up.

use std::collections::BTreeSet;

use crate::policy::pattern::has_plain_characters;
use crate::policy::rules::Kind;
use crate::text::percent_decoded;

/// More of them are not looked for.
const MOST: usize = 64;

pub(super) fn readings(kind: Kind, text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([text.to_owned()]);
    if kind.is_plain(text) {
        // P19: all that can be odd about it is a query that no pattern has.
        all.extend(text.split_once('?').map(|(uri, _)| uri.to_owned()));
        return all;
    }
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let others = if kind == Kind::Resource { of_uri(&text) } else { of_name(&text) };
        for other in others {
            if all.len() < MOST && all.insert(other.clone()) {
                open.push(other);
            }
        }
    }
    all
}

fn of_name(name: &str) -> Vec<String> {
    let plain = name.chars().filter(|c| has_plain_characters(c.encode_utf8(&mut [0; 4]))).collect();
    let mut others = vec![name.trim().to_owned(), plain, resolved(name)];
    others.extend(name.match_indices('/').filter_map(|(at, _)| name.get(at + 1..)).map(str::to_owned));
    others
}

fn of_uri(uri: &str) -> Vec<String> {
    let visible = uri.chars().filter(|c| c.is_ascii_graphic() && *c != '\\').collect();
    let decoded = String::from_utf8_lossy(&percent_decoded(uri)).into_owned();
    let bare = uri.split(['#', '?']).next().unwrap_or_default().to_owned();
    let mut others = vec![uri.trim().to_owned(), visible, uri.replace('\\', "/"), decoded, bare];
    if let Some((scheme, rest)) = uri.split_once(':') {
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None => ("", rest),
        };
        let host = authority.rsplit('@').next().unwrap_or_default();
        others.push(format!("{scheme}://{host}/{}", resolved(path)));
        // RFC 8089: to most, a file is on this machine.
        if scheme.eq_ignore_ascii_case("file") {
            others.push(format!("file:///{}", resolved(path)));
        }
    }
    others
}

/// RFC 3986 5.2.4, and without empty segments.
fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    segments.join("/")
}

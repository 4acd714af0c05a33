//! `stepup serve` as what is measured.

use std::path::Path;

use anyhow::Result;
use host_test::serve::{Options, Served, Serving, Upstream};

/// Serves until it is ended, if the arguments say so.
pub fn serve_if_asked(arguments: &[&str]) -> Result<()> {
    let ["serve", port, upstream, policy] = arguments else { return Ok(()) };
    let policy = Served::read(Path::new(policy))?;
    let upstream = Upstream { server: None, url: format!("http://127.0.0.1:{upstream}/").parse()? };
    let _serving = Serving::start(policy, Options::new(port.parse()?, vec![upstream], drop))?;
    loop {
        std::thread::park();
    }
}

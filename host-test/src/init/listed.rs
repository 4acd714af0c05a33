//! What a server says that it has: names and definitions, as they were sent.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use step_up_core::json::{items, read_long};

use crate::pin::{content, list, member};

/// Everything that a policy can have rules for. Nothing of it is believed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    /// Who it says that it is.
    pub server: Option<String>,
    pub tools: Vec<Tool>,
    pub prompts: Vec<String>,
    pub resources: Vec<String>,
    /// URI templates (RFC 6570).
    pub templates: Vec<String>,
    /// Entries without a name or URI that is a text.
    pub nameless: usize,
}

/// A tool, as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub name: String,
    pub definition: String,
}

impl Listed {
    /// Saved answers to `tools/list`, a file for each page.
    pub(super) fn read(files: &[PathBuf]) -> Result<Listed> {
        let mut listed = Listed::default();
        for file in files {
            let text = content(file)?;
            let what = || format!("{} is no list of tools", file.display());
            read_long(text.as_bytes()).map_err(|fault| anyhow!("{fault:?}")).with_context(what)?;
            listed.add_tools(list(&text).with_context(what)?).with_context(what)?;
        }
        Ok(listed)
    }

    /// What an answer of a live server has of any list.
    pub(super) fn add_answer(&mut self, message: &str) -> Result<()> {
        read_long(message.as_bytes()).map_err(|fault| anyhow!("the server's answer cannot be read: {fault:?}"))?;
        let Some(result) = member(message, "result") else { return Ok(()) };
        if let Some(tools) = member(result, "tools") {
            self.add_tools(tools).context("its `tools` are no list")?;
        }
        let lists = [
            ("prompts", "name", &mut self.prompts),
            ("resources", "uri", &mut self.resources),
            ("resourceTemplates", "uriTemplate", &mut self.templates),
        ];
        for (of, key, into) in lists {
            for entry in member(result, of).and_then(items).unwrap_or_default() {
                match text(entry, key) {
                    Some(name) => into.push(name),
                    None => self.nameless += 1,
                }
            }
        }
        Ok(())
    }

    fn add_tools(&mut self, tools: &str) -> Option<()> {
        for tool in items(tools)? {
            match text(tool, "name") {
                Some(name) => self.tools.push(Tool { name, definition: tool.to_owned() }),
                None => self.nameless += 1,
            }
        }
        Some(())
    }
}

fn text(entry: &str, key: &str) -> Option<String> {
    serde_json::from_str(member(entry, key)?).ok()
}

/// A bearer token in a file.
pub(super) fn token(file: &Path) -> Result<String> {
    Ok(content(file)?.trim().to_owned())
}

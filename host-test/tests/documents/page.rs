//! A Markdown page: its headings, its fenced blocks, its links, its prose.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What of a page is looked at.
#[derive(Debug, Default)]
pub struct Page {
    pub headings: Vec<Heading>,
    pub blocks: Vec<Block>,
    pub links: Vec<Link>,
    /// Texts and code spans outside of fenced blocks, with their lines.
    pub prose: Vec<(usize, String)>,
}

#[derive(Debug)]
pub struct Heading {
    pub level: usize,
    pub text: String,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands after the fence: `yaml policy`.
    pub info: String,
    pub text: String,
    /// The line of its first line.
    pub line: usize,
    /// The heading of the second level that it stands under.
    pub section: String,
}

#[derive(Debug)]
pub struct Link {
    pub target: String,
    pub line: usize,
}

impl Page {
    pub fn read(text: &str) -> Page {
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
        let mut page = Page::default();
        let (mut heading, mut block, mut section) = (None, None, String::new());
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    heading = Some(Heading { level: level as usize, text: String::new() });
                }
                Event::End(TagEnd::Heading(_)) => {
                    let done: Heading = heading.take().expect("it began");
                    if done.level <= 2 {
                        section.clone_from(&done.text);
                    }
                    page.headings.push(done);
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let line = line(range.start) + 1;
                    block = Some(Block { info, text: String::new(), line, section: section.clone() });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link { target: dest_url.to_string(), line: line(range.start) });
                }
                Event::Text(words) | Event::Code(words) => match (&mut block, &mut heading) {
                    (Some(block), _) => block.text += &words,
                    (None, Some(heading)) => heading.text += &words,
                    (None, None) => page.prose.push((line(range.start), words.to_string())),
                },
                _ => {}
            }
        }
        page
    }

    /// The anchors that GitHub gives the headings.
    pub fn anchors(&self) -> impl Iterator<Item = String> {
        self.headings.iter().map(|heading| anchor(&heading.text))
    }
}

/// The line of a byte, from 1.
pub fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Lower case, spaces as hyphens, and nothing else but letters, digits, hyphens and underscores.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

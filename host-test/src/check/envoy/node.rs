//! A value of a file of Envoy's, and where it stands.

use step_up_core::join;
use step_up_core::json::Value;

/// One value. Members are asked for in Envoy's own spelling (`idle_timeout`); protobuf's other one (`idleTimeout`) is read as well.
#[derive(Clone, Debug)]
pub(super) struct Node<'v> {
    /// Which file.
    pub file: usize,
    pub path: String,
    pub value: &'v Value<'static>,
}

impl<'v> Node<'v> {
    pub(super) fn get(&self, name: &str) -> Option<Node<'v>> {
        let members = self.value.members()?;
        let (key, value) = members.iter().find(|(key, _)| is_called(key, name))?;
        // protobuf's JSON takes null for a field that is not set.
        (*value != Value::Null).then(|| self.child(key, value))
    }

    /// What is at the end of these members.
    pub(super) fn at(&self, names: &[&str]) -> Option<Node<'v>> {
        names.iter().try_fold(self.clone(), |node, name| node.get(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The items of a list; none, if this is something else.
    pub(super) fn items(&self) -> Vec<Node<'v>> {
        let Value::List(items) = self.value else { return Vec::new() };
        let node = |(at, value)| Node { file: self.file, path: format!("{}[{at}]", self.path), value };
        items.iter().enumerate().map(node).collect()
    }

    /// The items of the list of that name.
    pub(super) fn list(&self, name: &str) -> Vec<Node<'v>> {
        self.get(name).map(|list| list.items()).unwrap_or_default()
    }

    pub(super) fn members(&self) -> Vec<(&'v str, Node<'v>)> {
        let members = self.value.members().unwrap_or_default();
        members.iter().map(|(key, value)| (key.as_ref(), self.child(key, value))).collect()
    }

    fn child(&self, key: &str, value: &'v Value<'static>) -> Node<'v> {
        Node { file: self.file, path: join(&self.path, key), value }
    }

    pub(super) fn text(&self, name: &str) -> Option<&'v str> {
        self.get(name)?.value.text()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|node| *node.value == Value::Bool(true))
    }

    /// protobuf writes 64 bits as a text.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A duration, as protobuf's JSON has it: `0.5s`.
    pub(super) fn seconds(&self, name: &str) -> Option<f64> {
        self.text(name)?.strip_suffix('s')?.parse().ok()
    }

    /// The message of an Any: its type without `type.googleapis.com/`, and its fields. A TypedStruct has both inside.
    pub(super) fn message(&self) -> Option<(&'v str, Node<'v>)> {
        let kind = short(self.text("@type")?);
        if kind.ends_with(".TypedStruct") {
            return Some((short(self.text("type_url")?), self.get("value")?));
        }
        Some((kind, self.clone()))
    }

    /// Some text in it has this part.
    pub(super) fn mentions(&self, part: &str) -> bool {
        mentions(self.value, part)
    }
}

fn short(kind: &str) -> &str {
    kind.rsplit('/').next().unwrap_or(kind)
}

/// `idle_timeout` is `idleTimeout`, too.
pub(super) fn is_called(key: &str, name: &str) -> bool {
    key == name || (!key.contains('_') && name.contains('_') && key == camel(name))
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        text + &head.into_iter().chain(letters).collect::<String>()
    })
}

fn mentions(value: &Value<'_>, part: &str) -> bool {
    match value {
        Value::Text(text) => text.contains(part),
        Value::List(items) => items.iter().any(|item| mentions(item, part)),
        Value::Map(members) => members.iter().any(|(_, value)| mentions(value, part)),
        _ => false,
    }
}

//! Text into runs of ordinary text and special tokens: the leftmost, then the longest, wins.

/// The texts of special tokens as a tree of bytes.
pub(crate) struct SpecialTree {
    nodes: Vec<Node>,
    /// The root's child of each first byte; 0 is the root itself and means none.
    first: Box<[u32; 256]>,
}

#[derive(Default)]
struct Node {
    /// (byte, node), in the order of insertion; few everywhere but at the root.
    children: Vec<(u8, u32)>,
    token: Option<u32>,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

/// How far a text can be followed into the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The longest special token at the beginning of the text: its id and length in bytes.
    pub(crate) longest: Option<(u32, usize)>,
    /// Whether the whole text is a proper beginning of a special token.
    pub(crate) is_prefix: bool,
}

impl SpecialTree {
    /// A tree of (text, id); empty texts are left out, of equal texts the first stays.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = (&'a str, u32)>) -> SpecialTree {
        let mut tree = SpecialTree { nodes: vec![Node::default()], first: Box::new([0; 256]) };
        for (text, id) in tokens.filter(|(text, _)| !text.is_empty()) {
            let mut at = 0;
            for byte in text.bytes() {
                at = match tree.child(at, byte) {
                    Some(node) => node,
                    None => tree.add_child(at, byte),
                };
            }
            tree.nodes[at as usize].token.get_or_insert(id);
        }
        for (byte, node) in &tree.nodes[0].children {
            tree.first[usize::from(*byte)] = *node;
        }
        tree
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let children = &self.nodes[node as usize].children;
        children.iter().find(|(edge, _)| *edge == byte).map(|(_, node)| *node)
    }

    fn add_child(&mut self, parent: u32, byte: u8) -> u32 {
        // At most (number of specials) × (their longest length) nodes, both limited at load.
        let node = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        self.nodes[parent as usize].children.push((byte, node));
        node
    }

    /// Whether a special token can begin with this byte.
    pub(crate) fn can_begin(&self, byte: u8) -> bool {
        self.first[usize::from(byte)] != 0
    }

    /// Follows `text` from its beginning, at most as far as the longest special token.
    pub(crate) fn walk(&self, text: &[u8]) -> Walk {
        let mut longest = None;
        let mut at = match text.first() {
            Some(byte) if self.can_begin(*byte) => self.first[usize::from(*byte)],
            _ => return Walk { longest, is_prefix: false },
        };
        for length in 1.. {
            let node = &self.nodes[at as usize];
            longest = node.token.map(|id| (id, length)).or(longest);
            let Some(byte) = text.get(length) else {
                return Walk { longest, is_prefix: !node.children.is_empty() };
            };
            match self.child(at, *byte) {
                Some(next) => at = next,
                None => break,
            }
        }
        Walk { longest, is_prefix: false }
    }

    /// Cuts `text` into parts. A special token right after the text `guard` stays text.
    pub(crate) fn split<'t>(&self, text: &'t str, guard: Option<char>) -> Vec<Part<'t>> {
        let bytes = text.as_bytes();
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        while let Some(skipped) = bytes[at..].iter().position(|byte| self.can_begin(*byte)) {
            at += skipped;
            let found = self.walk(&bytes[at..]).longest;
            let Some((id, length)) =
                found.filter(|_| !guard.is_some_and(|guard| text[..at].ends_with(guard)))
            else {
                at += 1;
                continue;
            };
            if from < at {
                parts.push(Part::Text(&text[from..at]));
            }
            parts.push(Part::Token(id));
            at += length;
            from = at;
        }
        if from < text.len() {
            parts.push(Part::Text(&text[from..]));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> SpecialTree {
        let tokens = ["<a>", "<a><b>", "<|im_end|>", "é", "  "];
        SpecialTree::new(tokens.into_iter().zip(0..))
    }

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        use Part::{Text, Token};
        let tree = tree();
        assert_eq!(tree.split("", None), []);
        assert_eq!(tree.split("<a><b><a>x", None), [Token(1), Token(0), Text("x")]);
        assert_eq!(
            tree.split("<<a><|im_endé", None),
            [Text("<"), Token(0), Text("<|im_end"), Token(3)]
        );
        assert_eq!(tree.split("a   b", None), [Text("a"), Token(4), Text(" b")]);
    }

    #[test]
    fn a_guarded_token_stays_text() {
        use Part::{Text, Token};
        let parts = tree().split("\u{fdd0}<a><a>", Some('\u{fdd0}'));
        assert_eq!(parts, [Text("\u{fdd0}<a>"), Token(0)]);
    }

    #[test]
    fn a_walk_tells_a_beginning() {
        let tree = tree();
        assert!(tree.walk(b"<|im_").is_prefix);
        assert!(tree.walk(b"<a>").is_prefix, "also the beginning of <a><b>");
        assert!(!tree.walk(b"<|im_end|>").is_prefix);
        assert!(!tree.walk(b"<x").is_prefix);
    }
}

//! Turns many strings into one piece of memory: an array of strings as a file holds it.

use std::ops::Index;

/// A list of strings in one allocation, four bytes more than its text for each. A vocabulary as
/// `Vec<String>` would take several times its size in the file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl Strings {
    /// Strings already put together: `ends` ascend, on character boundaries of `text`.
    pub(crate) fn from_parts(text: String, ends: Vec<u32>) -> Strings {
        Strings { text, ends }
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.text.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| &self[index])
    }
}

impl Index<usize> for Strings {
    type Output = str;

    /// # Panics
    ///
    /// If there are not so many strings.
    fn index(&self, index: usize) -> &str {
        match self.get(index) {
            Some(text) => text,
            None => panic!("string {index} of {}", self.len()),
        }
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    /// # Panics
    ///
    /// If the text is longer than 4 GiB.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Strings {
        let mut list = Strings::default();
        for string in strings {
            list.text.push_str(string.as_ref());
            list.ends.push(u32::try_from(list.text.len()).expect("at most 4 GiB of strings"));
        }
        list
    }
}

impl std::fmt::Debug for Strings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

//! Turns the pages of one KV cache into shares of many requests: counted references, and reuse by
//! content. Slots of states are shared in the same way (`states.rs`).
//!
//! A full page is known by the hash of all tokens up to its end, chained page by page (as in vLLM's
//! prefix caching). A page that nobody holds keeps its content until it is the least recently used
//! one and somebody needs room; a page in use is never taken.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use myriad_model::PAGE_TOKENS;
use sha2::{Digest, Sha256};

/// Names a prefix that fills whole pages.
///
/// 128 bits of SHA-256: nobody can make a prompt that is taken for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PrefixHash([u8; 16]);

impl PrefixHash {
    /// The empty prefix under a salt: equal prompts of different salts share nothing.
    pub(crate) fn root(salt: u64) -> PrefixHash {
        PrefixHash::of(&salt.to_le_bytes(), &[])
    }

    /// This prefix with one more page of tokens.
    pub(crate) fn chain(self, page: &[u32]) -> PrefixHash {
        debug_assert_eq!(page.len(), PAGE_TOKENS);
        PrefixHash::of(&self.0, page)
    }

    fn of(before: &[u8], tokens: &[u32]) -> PrefixHash {
        let mut hasher = Sha256::new();
        hasher.update(before);
        for token in tokens {
            hasher.update(token.to_le_bytes());
        }
        let digest = hasher.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        PrefixHash(hash)
    }
}

/// Who holds which page, and what stands in it.
pub(crate) struct PagePool {
    pages: Vec<Page>,
    /// Pages without content worth keeping.
    free: Vec<u32>,
    /// Full pages by what stands in them, held or not.
    known: HashMap<PrefixHash, u32>,
    /// Known pages that nobody holds, by when they were given back: the first is the oldest.
    idle: BTreeMap<u64, u32>,
    /// Counts the times that a page was given back.
    returns: u64,
}

#[derive(Clone, Copy, Default)]
struct Page {
    holders: u32,
    hash: Option<PrefixHash>,
    /// Key in `idle`, while it is there.
    returned: u64,
}

impl PagePool {
    pub(crate) fn new(pages: usize) -> PagePool {
        PagePool {
            pages: vec![Page::default(); pages],
            // The lowest page is handed out first.
            free: (0..pages as u32).rev().collect(),
            known: HashMap::new(),
            idle: BTreeMap::new(),
            returns: 0,
        }
    }

    /// Pages that there are.
    pub(crate) fn total(&self) -> usize {
        self.pages.len()
    }

    /// Pages that could be had now.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Pages that somebody holds.
    pub(crate) fn held(&self) -> usize {
        self.total() - self.available()
    }

    /// A page with nothing of worth in it, held once; `None` where all pages are held.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                if let Some(hash) = self.pages[page as usize].hash.take() {
                    self.known.remove(&hash);
                }
                page
            }
        };
        self.pages[page as usize].holders = 1;
        Some(page)
    }

    /// The page that ends this prefix, held once more; `None` where none is known.
    pub(crate) fn share(&mut self, hash: PrefixHash) -> Option<u32> {
        let number = *self.known.get(&hash)?;
        let page = &mut self.pages[number as usize];
        if page.holders == 0 {
            self.idle.remove(&page.returned);
        }
        page.holders += 1;
        Some(number)
    }

    /// Whether a page that ends this prefix is known.
    pub(crate) fn knows(&self, hash: PrefixHash) -> bool {
        self.known.contains_key(&hash)
    }

    /// Says that a held page is full, and what stands in it. Where another page has the same
    /// content already, this one stays private.
    pub(crate) fn publish(&mut self, page: u32, hash: PrefixHash) {
        debug_assert!(self.pages[page as usize].holders > 0);
        if self.pages[page as usize].hash.is_none() && !self.known.contains_key(&hash) {
            self.known.insert(hash, page);
            self.pages[page as usize].hash = Some(hash);
        }
    }

    /// Makes an idle page of this prefix free: what stands in it is not worth keeping any more.
    pub(crate) fn forget(&mut self, hash: PrefixHash) {
        let Some(&number) = self.known.get(&hash) else { return };
        let page = &mut self.pages[number as usize];
        if page.holders == 0 {
            page.hash = None;
            self.idle.remove(&page.returned);
            self.known.remove(&hash);
            self.free.push(number);
        }
    }

    /// Gives back a sequence's pages, the end of the prefix first: what is shared most stays
    /// longest.
    pub(crate) fn release(&mut self, pages: &mut Vec<u32>) {
        while let Some(number) = pages.pop() {
            let page = &mut self.pages[number as usize];
            debug_assert!(page.holders > 0);
            page.holders -= 1;
            if page.holders > 0 {
                continue;
            }
            if page.hash.is_some() {
                self.returns += 1;
                page.returned = self.returns;
                self.idle.insert(self.returns, number);
            } else {
                self.free.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(number: u32) -> PrefixHash {
        PrefixHash::root(0).chain(&[number; PAGE_TOKENS])
    }

    #[test]
    fn hashes_depend_on_salt_order_and_all_tokens_before() {
        let (a, b) = ([1; PAGE_TOKENS], [2; PAGE_TOKENS]);
        let root = PrefixHash::root(0);
        assert_eq!(root.chain(&a).chain(&b), root.chain(&a).chain(&b));
        assert_ne!(root.chain(&a).chain(&b), root.chain(&b).chain(&a));
        assert_ne!(root.chain(&b), root.chain(&a).chain(&b));
        assert_ne!(root.chain(&a), PrefixHash::root(1).chain(&a));
    }

    #[test]
    fn the_least_recently_used_page_is_taken_first_and_held_ones_never() {
        let mut pool = PagePool::new(3);
        let pages: Vec<u32> = (0..3).map(|_| pool.take().unwrap()).collect();
        for (&page, number) in pages.iter().zip(0..) {
            pool.publish(page, hash(number));
        }
        assert_eq!((pool.take(), pool.available(), pool.held()), (None, 0, 3));
        pool.release(&mut vec![pages[1]]);
        pool.release(&mut vec![pages[0]]);
        assert_eq!(pool.available(), 2);
        // Used again, page 1 becomes the younger one.
        assert_eq!(pool.share(hash(1)), Some(pages[1]));
        pool.release(&mut vec![pages[1]]);
        assert_eq!(pool.take(), Some(pages[0]));
        assert!(!pool.knows(hash(0)) && pool.knows(hash(1)) && pool.knows(hash(2)));
        assert_eq!(pool.take(), Some(pages[1]));
        assert_eq!(pool.take(), None);
        assert_eq!(pool.share(hash(2)), Some(pages[2]));
    }

    #[test]
    fn the_end_of_a_prefix_goes_before_its_beginning() {
        let mut pool = PagePool::new(2);
        let mut pages: Vec<u32> = (0..2).map(|_| pool.take().unwrap()).collect();
        for (&page, number) in pages.iter().zip(0..) {
            pool.publish(page, hash(number));
        }
        pool.release(&mut pages);
        pool.take();
        assert!(pool.knows(hash(0)) && !pool.knows(hash(1)));
    }

    #[test]
    fn two_pages_of_equal_content_do_not_confuse() {
        let mut pool = PagePool::new(2);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        pool.publish(a, hash(7));
        pool.publish(b, hash(7));
        pool.release(&mut vec![b]);
        assert_eq!(pool.share(hash(7)), Some(a));
        assert_eq!(pool.take(), Some(b));
    }

    proptest! {
        /// Against a plain count of holders: no page is lost, none is handed out while held, and
        /// a known page is the one that was published under that name.
        #[test]
        fn books_balance(steps in prop::collection::vec((0u8..4, 0u32..6), 1..200)) {
            const PAGES: usize = 4;
            let mut pool = PagePool::new(PAGES);
            let mut holds: Vec<u32> = Vec::new();
            let mut names: HashMap<u32, u32> = HashMap::new();
            for (kind, number) in steps {
                match kind {
                    0 => {
                        if let Some(page) = pool.take() {
                            prop_assert!(!holds.contains(&page));
                            names.remove(&page);
                            holds.push(page);
                        } else {
                            let mut all = holds.clone();
                            all.sort_unstable();
                            all.dedup();
                            prop_assert_eq!(all.len(), PAGES);
                        }
                    }
                    1 => {
                        if let Some(page) = pool.share(hash(number)) {
                            prop_assert_eq!(names.get(&page), Some(&number));
                            holds.push(page);
                        }
                    }
                    2 if !holds.is_empty() => {
                        let page = holds[number as usize % holds.len()];
                        if !pool.knows(hash(number)) && !names.contains_key(&page) {
                            names.insert(page, number);
                        }
                        pool.publish(page, hash(number));
                    }
                    3 if !holds.is_empty() => {
                        let page = holds.swap_remove(number as usize % holds.len());
                        pool.release(&mut vec![page]);
                        if !holds.contains(&page) && !names.contains_key(&page) {
                            names.remove(&page);
                        }
                    }
                    _ => {}
                }
                let mut all = holds.clone();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(pool.held(), all.len());
            }
        }
    }
}

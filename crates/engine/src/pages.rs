//! Turns the pages of one KV cache into shares of many requests: counted references, and reuse by
//! content. Slots of states are shared in the same way (`states.rs`).
//!
//! A full page is known by the hash of all tokens up to its end, chained page by page (as in vLLM's
//! prefix caching), and is shared as it is. Where a prefix ends within a page, its beginning is
//! copied from a page that follows the same prefix, full or not. A page that nobody holds keeps its
//! content until it is the least recently used one and somebody needs room; a page in use is never
//! taken.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use myriad_model::PAGE_TOKENS;
use sha2::{Digest, Sha256};

/// Most pages behind one prefix whose beginnings are compared, the youngest first: where many
/// follow it, most of them begin alike, as questions behind a system prompt do.
const COMPARED_MAX: usize = 16;

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
    /// Pages with noted tokens by the prefix before them, the oldest first.
    children: HashMap<PrefixHash, Vec<u32>>,
    /// Pages with content that nobody holds, by when they were given back: the first is the oldest.
    idle: BTreeMap<u64, u32>,
    /// Counts the times that a page was given back.
    returns: u64,
    /// Pages below this were taken before.
    taken: u32,
    /// Pages below this have their memory, or will have it soon.
    touched: u32,
}

#[derive(Clone, Default)]
struct Page {
    holders: u32,
    hash: Option<PrefixHash>,
    noted: Option<Noted>,
    /// Key in `idle`, while it is there.
    returned: u64,
}

/// The tokens that stand in a page from its beginning on, and the prefix before them.
#[derive(Clone)]
struct Noted {
    parent: PrefixHash,
    tokens: Vec<u32>,
}

/// A page for one sequence alone that begins with tokens which were computed before.
pub(crate) struct Begun {
    pub(crate) page: u32,
    /// How many of its tokens were.
    pub(crate) tokens: usize,
    /// The page that must be copied onto it; none where it was taken over as it is.
    pub(crate) copy_of: Option<u32>,
}

impl PagePool {
    pub(crate) fn new(pages: usize) -> PagePool {
        PagePool {
            pages: vec![Page::default(); pages],
            // The lowest page is handed out first.
            free: (0..pages as u32).rev().collect(),
            known: HashMap::new(),
            children: HashMap::new(),
            idle: BTreeMap::new(),
            returns: 0,
            taken: 0,
            touched: 0,
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
                self.clear(page);
                page
            }
        };
        self.pages[page as usize].holders = 1;
        self.taken = self.taken.max(page + 1);
        Some(page)
    }

    /// The next page without memory, where it is one of the `ahead` that will be taken first of
    /// those that never were. It is named once.
    pub(crate) fn touch(&mut self, ahead: usize) -> Option<u32> {
        let page = self.touched.max(self.taken);
        let end = (self.taken as usize).saturating_add(ahead).min(self.total());
        ((page as usize) < end).then(|| {
            self.touched = page + 1;
            page
        })
    }

    /// The page that ends this prefix, held once more; `None` where none is known.
    pub(crate) fn share(&mut self, hash: PrefixHash) -> Option<u32> {
        let number = *self.known.get(&hash)?;
        self.hold(number);
        Some(number)
    }

    /// A page, held once, that begins with as many of these tokens as stand in a page behind the
    /// prefix `parent`; `None` where none does, or all pages are held.
    ///
    /// A page that nobody holds and that has no other tokens is taken over. Of any other, `copy_of`
    /// names it: it has these tokens until the next step computes, even if it is taken before.
    pub(crate) fn begin(&mut self, parent: PrefixHash, tokens: &[u32]) -> Option<Begun> {
        let (number, run) = self.longest_run(parent, tokens)?;
        self.hold(number);
        if self.pages[number as usize].holders == 1 && self.noted(number).len() == run {
            return Some(Begun { page: number, tokens: run, copy_of: None });
        }
        let page = self.take();
        self.release(&mut vec![number]);
        Some(Begun { page: page?, tokens: run, copy_of: Some(number) })
    }

    /// The page behind this prefix that has most of these tokens, and how many; none without any.
    fn longest_run(&self, parent: PrefixHash, tokens: &[u32]) -> Option<(u32, usize)> {
        let run = |&page: &u32| {
            let pairs = self.noted(page).iter().zip(tokens);
            (page, pairs.take_while(|(noted, token)| noted == token).count())
        };
        let youngest = self.children.get(&parent)?.iter().rev().take(COMPARED_MAX);
        youngest.map(run).filter(|(_, run)| *run > 0).max_by_key(|(_, run)| *run)
    }

    fn noted(&self, page: u32) -> &[u32] {
        self.pages[page as usize].noted.as_ref().map_or(&[], |noted| &noted.tokens)
    }

    fn hold(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        if page.holders == 0 {
            self.idle.remove(&page.returned);
        }
        page.holders += 1;
    }

    /// Whether a page that ends this prefix is known.
    pub(crate) fn knows(&self, hash: PrefixHash) -> bool {
        self.known.contains_key(&hash)
    }

    /// Says which tokens stand in a held page behind the prefix `parent` by now: those that were
    /// noted before, and what came behind them.
    pub(crate) fn note(&mut self, page: u32, parent: PrefixHash, tokens: &[u32]) {
        debug_assert!(self.pages[page as usize].holders > 0);
        debug_assert!(tokens.starts_with(self.noted(page)));
        match &mut self.pages[page as usize].noted {
            Some(noted) => noted.tokens.extend_from_slice(&tokens[noted.tokens.len()..]),
            none => {
                *none = Some(Noted { parent, tokens: tokens.to_vec() });
                self.children.entry(parent).or_default().push(page);
            }
        }
    }

    /// Says that a held page is full, and what stands in it. Where another page has the same
    /// content already, this one stays private.
    pub(crate) fn publish(&mut self, page: u32, hash: PrefixHash) {
        debug_assert!(self.pages[page as usize].holders > 0);
        if self.pages[page as usize].hash.is_some() {
            return;
        }
        if self.known.contains_key(&hash) {
            self.clear(page);
        } else {
            self.known.insert(hash, page);
            self.pages[page as usize].hash = Some(hash);
        }
    }

    /// Makes an idle page of this prefix free: what stands in it is not worth keeping any more.
    pub(crate) fn forget(&mut self, hash: PrefixHash) {
        let Some(&number) = self.known.get(&hash) else { return };
        let page = &self.pages[number as usize];
        if page.holders == 0 {
            self.idle.remove(&page.returned);
            self.clear(number);
            self.free.push(number);
        }
    }

    /// Makes what stands in a page unknown.
    fn clear(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        if let Some(hash) = page.hash.take() {
            self.known.remove(&hash);
        }
        let Some(Noted { parent, .. }) = page.noted.take() else { return };
        if let Some(children) = self.children.get_mut(&parent) {
            children.retain(|child| *child != number);
            if children.is_empty() {
                self.children.remove(&parent);
            }
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
            if page.hash.is_some() || page.noted.is_some() {
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
    use hashbrown::HashSet;
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
    fn memory_comes_before_pages_are_taken_and_not_long_before() {
        let mut pool = PagePool::new(5);
        let touched =
            |pool: &mut PagePool| -> Vec<u32> { std::iter::from_fn(|| pool.touch(2)).collect() };
        assert_eq!(touched(&mut pool), [0, 1]);
        let mut pages: Vec<u32> = (0..2).map(|_| pool.take().unwrap()).collect();
        assert_eq!(touched(&mut pool), [2, 3]);
        pool.release(&mut pages);
        pages.extend((0..4).map(|_| pool.take().unwrap()));
        assert_eq!(touched(&mut pool), [4], "there is no further one");
        pages.extend(pool.take());
        assert_eq!((pages.len(), pool.touch(2)), (5, None));
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

    #[test]
    fn what_stands_in_part_of_a_page_is_taken_over_or_copied() {
        let (mut pool, root) = (PagePool::new(3), PrefixHash::root(0));
        let page = pool.take().unwrap();
        pool.note(page, root, &[1, 2]);
        pool.note(page, root, &[1, 2, 3]);
        let begin = |pool: &mut PagePool, tokens: &[u32]| {
            let begun = pool.begin(root, tokens)?;
            Some((begun.page, begun.tokens, begun.copy_of))
        };
        assert_eq!(begin(&mut pool, &[2, 2, 3]), None);
        assert!(pool.begin(PrefixHash::root(1), &[1, 2, 3]).is_none(), "another prefix");
        // In use, or with other tokens behind, it is copied; else it is gone on with.
        let (copy, tokens, copy_of) = begin(&mut pool, &[1, 2, 3, 4]).unwrap();
        assert_eq!((tokens, copy_of), (3, Some(page)));
        pool.release(&mut vec![copy]);
        pool.release(&mut vec![page]);
        assert_eq!(begin(&mut pool, &[1, 2, 4]), Some((copy, 2, Some(page))));
        assert_eq!(begin(&mut pool, &[1, 2, 3, 4]), Some((page, 3, None)));
        pool.note(page, root, &[1, 2, 3, 4]);
        pool.note(copy, root, &[1, 2, 4]);
        pool.release(&mut vec![page, copy]);
        assert_eq!((pool.held(), pool.free.len(), pool.idle.len()), (0, 1, 2));
    }

    /// How many of the tokens wanted behind a prefix were noted.
    fn run_of(noted: &(PrefixHash, Vec<u32>), parent: PrefixHash, wanted: &[u32]) -> usize {
        let equal = noted.1.iter().zip(wanted).take_while(|(a, b)| a == b);
        if noted.0 == parent { equal.count() } else { 0 }
    }

    proptest! {
        /// Against a plain count of holders: no page is lost, none is handed out while held, and
        /// a known page is the one that was published under that name, or has the tokens that
        /// were noted.
        #[test]
        fn books_balance(steps in prop::collection::vec((0u8..6, 0u32..6, 0u32..4), 1..200)) {
            const PAGES: usize = 4;
            let mut pool = PagePool::new(PAGES);
            let mut holds: Vec<u32> = Vec::new();
            let mut names: HashMap<u32, u32> = HashMap::new();
            let mut noted: HashMap<u32, (PrefixHash, Vec<u32>)> = HashMap::new();
            for (kind, number, bits) in steps {
                let distinct: HashSet<u32> = holds.iter().copied().collect();
                let held = holds.get(number as usize % holds.len().max(1)).copied();
                let parent = PrefixHash::root(u64::from(number % 2));
                match (kind, held) {
                    (0, _) => {
                        let Some(page) = pool.take() else {
                            prop_assert_eq!(distinct.len(), PAGES);
                            continue;
                        };
                        prop_assert!(!distinct.contains(&page));
                        names.remove(&page);
                        noted.remove(&page);
                        holds.push(page);
                    }
                    (1, _) => {
                        if let Some(page) = pool.share(hash(number)) {
                            prop_assert_eq!(names.get(&page), Some(&number));
                            holds.push(page);
                        }
                    }
                    (2, Some(page)) => {
                        if !names.contains_key(&page) {
                            match pool.knows(hash(number)) {
                                true => drop(noted.remove(&page)),
                                false => drop(names.insert(page, number)),
                            }
                        }
                        pool.publish(page, hash(number));
                    }
                    (3, Some(page)) => {
                        holds.swap_remove(number as usize % holds.len());
                        pool.release(&mut vec![page]);
                    }
                    (4, Some(page)) => {
                        let (parent, tokens) = noted.entry(page).or_insert((parent, Vec::new()));
                        tokens.extend([bits & 1, bits >> 1]);
                        pool.note(page, *parent, tokens);
                    }
                    (5, _) => {
                        let wanted = [bits & 1, bits >> 1, 0, 1];
                        let run = |noted: &(PrefixHash, Vec<u32>)| run_of(noted, parent, &wanted);
                        let longest = noted.values().map(run).max().unwrap_or(0);
                        match pool.begin(parent, &wanted) {
                            Some(Begun { page, tokens, copy_of }) => {
                                let from = &noted[&copy_of.unwrap_or(page)];
                                prop_assert!(!distinct.contains(&page));
                                prop_assert_eq!((tokens, run(from)), (longest, longest));
                                prop_assert!(copy_of.is_some() || from.1.len() == tokens);
                                if copy_of.is_some() {
                                    names.remove(&page);
                                    noted.remove(&page);
                                }
                                holds.push(page);
                            }
                            None => prop_assert!(longest == 0 || distinct.len() + 1 >= PAGES),
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(pool.held(), holds.iter().collect::<HashSet<_>>().len());
                prop_assert_eq!(pool.children.values().flatten().count(), noted.len());
            }
        }
    }
}

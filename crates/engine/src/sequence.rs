//! Turns one request into its state: tokens so far, pages, what is computed, how the next is
//! chosen.

use std::ops::Range;

use myriad_model::{Config, LogitRows, PAGE_TOKENS, Pool, Pooling};

use crate::constraint::Guide;
use crate::draft::Odds;
use crate::lookup::Lookup;
use crate::pages::{Begun, PagePool, PrefixHash};
use crate::request::{Output, Request, RequestId, Usage};
use crate::sampler::Sampler;
use crate::states::{Pools, State};

/// Most rows of one step that carry logits for scores of a prompt: each is a whole vocabulary of
/// floats, 40 MB together for 150,000 tokens.
const SCORED_ROWS_MAX: usize = 64;

/// A vector in the making.
pub(crate) struct Vector {
    pooling: Pooling,
    hidden: usize,
    pub(crate) pool: Pool,
}

impl Vector {
    fn new(pooling: Pooling, hidden: usize) -> Vector {
        Vector { pooling, hidden, pool: Pool::new(pooling, hidden) }
    }

    /// Whether only the last token's state counts.
    fn is_of_last(&self) -> bool {
        self.pooling == Pooling::Last
    }
}

/// A request on its way.
pub(crate) struct Sequence {
    pub(crate) id: RequestId,
    /// Prompt and answer so far.
    pub(crate) tokens: Vec<u32>,
    /// How many of the tokens are the prompt.
    pub(crate) prompt: usize,
    /// Tokens whose keys and values are in the cache; always below `tokens.len()` between steps.
    pub(crate) computed: usize,
    /// Pages from position 0 on; covers at least the computed tokens.
    pub(crate) pages: Vec<u32>,
    /// Hashes of the full pages: as many as are known so far.
    hashes: Vec<PrefixHash>,
    root: PrefixHash,
    /// How many of the first pages are published, or shared from others.
    published: usize,
    pub(crate) max_tokens: usize,
    pub(crate) end_tokens: Vec<u32>,
    pub(crate) prompt_logprobs: Option<usize>,
    /// Tokens of the prompt that need no score any more.
    pub(crate) scored: usize,
    pub(crate) sampler: Sampler,
    /// The prompt's states so far, where its vector is wanted.
    pub(crate) vector: Option<Vector>,
    /// Stays with the answer's tokens through a preemption.
    pub(crate) guide: Option<Box<Guide>>,
    /// Prompt tokens found in the cache when it started; `None` before that.
    pub(crate) cached: Option<usize>,
    pub(crate) state: State,
    lookup: Lookup,
    pub(crate) odds: Odds,
    /// Tokens whose keys and values a draft has in its cache.
    pub(crate) drafted: usize,
    /// The states of the tokens behind those, where a draft reads states. [tokens, hidden]
    pub(crate) unread: Vec<f32>,
    /// The last token and the guess behind it, while they are computed.
    pub(crate) guessed: Vec<u32>,
    /// Whether a draft guessed them.
    pub(crate) drafts: bool,
}

impl Sequence {
    pub(crate) fn new(id: RequestId, request: Request, config: &Config) -> Sequence {
        let vocab = config.vocab;
        let prompt = request.prompt.len();
        let sampler = Sampler::new(
            request.sampling,
            &request.prompt,
            vocab,
            request.min_tokens,
            &request.end_tokens,
        );
        Sequence {
            id,
            tokens: request.prompt,
            prompt,
            computed: 0,
            pages: Vec::new(),
            hashes: Vec::new(),
            root: PrefixHash::root(request.cache_salt),
            published: 0,
            max_tokens: request.max_tokens,
            end_tokens: request.end_tokens,
            prompt_logprobs: request.prompt_logprobs,
            // Nothing stands before the first token that could predict it.
            scored: 1,
            sampler,
            vector: match request.output {
                Output::Answer | Output::PairScore { .. } => None,
                Output::Vector => Some(Vector::new(config.pooling, config.hidden)),
            },
            guide: request.grammar.map(|grammar| Box::new(Guide::new(grammar, vocab))),
            cached: None,
            state: State::default(),
            lookup: Lookup::default(),
            odds: Odds::default(),
            drafted: 0,
            unread: Vec::new(),
            guessed: Vec::new(),
            drafts: false,
        }
    }

    /// How many of the tokens that come next may be guessed, of at most `most`.
    ///
    /// What a grammar allows, and what penalties make of a token, depends on the tokens before it:
    /// such answers go token by token.
    pub(crate) fn most_guesses(&self, most: usize) -> usize {
        if self.guide.is_some() || !self.sampler.forgets() {
            return 0;
        }
        most.min(self.max_tokens.saturating_sub(self.generated() + 1))
    }

    /// Guesses at most `most` of the tokens that come next by what stood before; returns how many.
    pub(crate) fn guess(&mut self, most: usize) -> usize {
        self.guessed.clear();
        self.drafts = false;
        let generated = self.generated();
        let guess = self.lookup.guess(&self.tokens, generated, most);
        if !guess.is_empty() {
            self.guessed.extend(self.tokens.last().into_iter().chain(guess));
        }
        guess.len()
    }

    /// The tokens of the next `rows` rows, guesses among them.
    pub(crate) fn rows(&self, rows: usize) -> &[u32] {
        match self.guessed.is_empty() {
            true => &self.tokens[self.computed..][..rows],
            false => &self.guessed,
        }
    }

    /// Learns which tokens came in the place of a guess; returns how many of it were right.
    pub(crate) fn learn(&mut self, came: usize) -> usize {
        let (guessed, right) = (self.guessed.len() - 1, came.saturating_sub(1));
        match self.drafts {
            true => self.odds.learn(guessed, right),
            false => self.lookup.learn(guessed, right),
        }
        // Behind what was right its cache has what was wrong.
        self.drafted = self.drafted.min(self.tokens.len() + right);
        self.guessed.clear();
        right
    }

    /// Tokens generated so far.
    pub(crate) fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Whether only the last token is left to compute: a step then samples the next one.
    pub(crate) fn decodes(&self) -> bool {
        self.computed + 1 == self.tokens.len() && self.cached.is_some()
    }

    /// Whether tokens of the prompt still want a score.
    pub(crate) fn scores_prompt(&self) -> bool {
        self.prompt_logprobs.is_some() && self.scored < self.prompt
    }

    /// The name of the first `pages` pages, all of whose tokens are there.
    fn prefix(&mut self, pages: usize) -> PrefixHash {
        while self.hashes.len() < pages {
            let before = self.hashes.last().copied().unwrap_or(self.root);
            let page = &self.tokens[self.hashes.len() * PAGE_TOKENS..][..PAGE_TOKENS];
            self.hashes.push(before.chain(page));
        }
        pages.checked_sub(1).map_or(self.root, |last| self.hashes[last])
    }

    /// The name of the prefix that ends with page `index`, all of whose tokens are there.
    pub(crate) fn hash(&mut self, index: usize) -> PrefixHash {
        self.prefix(index + 1)
    }

    /// Tokens from the first not computed on that could be taken from the cache.
    ///
    /// The row of the last token must be computed (its logits choose the next), and so must every
    /// row that scores a token of the prompt, or whose state is part of a vector.
    fn tokens_to_share(&self) -> Range<usize> {
        let needed = match &self.vector {
            Some(vector) if !vector.is_of_last() => self.computed,
            _ if self.scores_prompt() => self.scored - 1,
            _ => self.tokens.len() - 1,
        };
        // A page of its own that is begun is not given up.
        let may = self.computed == self.pages.len() * PAGE_TOKENS;
        self.computed..if may { needed.max(self.computed) } else { self.computed }
    }

    /// Whole pages from the first not computed on that could be taken from the cache.
    fn pages_to_share(&self) -> Range<usize> {
        let Range { start, end } = self.tokens_to_share();
        start / PAGE_TOKENS..end / PAGE_TOKENS
    }

    /// The name of the page to be computed next, if it could be taken from the cache.
    pub(crate) fn next_page(&mut self) -> Option<PrefixHash> {
        self.pages_to_share().next().map(|page| self.hash(page))
    }

    /// Takes over pages that are in the cache already, as many as follow each other; where there
    /// are states, up to the last one whose state was kept. Returns the number of tokens found.
    pub(crate) fn share_prefix(&mut self, pools: &mut Pools) -> usize {
        let before = self.computed;
        let mut end = before / PAGE_TOKENS;
        for page in self.pages_to_share() {
            let hash = self.hash(page);
            if !pools.pages.knows(hash) {
                break;
            }
            match &pools.states {
                Some(states) if !states.knows(hash) => {}
                _ => end = page + 1,
            }
        }
        for page in before / PAGE_TOKENS..end {
            let hash = self.hash(page);
            // Known pages can be shared.
            let Some(number) = pools.pages.share(hash) else { break };
            self.pages.push(number);
            self.computed += PAGE_TOKENS;
            self.published += 1;
        }
        if self.computed > before
            && let Some(states) = &mut pools.states
        {
            let hash = self.hash(end - 1);
            self.state.begin_from(hash, states);
        }
        if self.computed > before {
            self.skip_draft();
        }
        self.computed - before
    }

    /// Begins its next page with tokens that stand in another page behind the same prefix.
    pub(crate) fn share_part(&mut self, pools: &mut Pools) {
        let Range { start, end } = self.tokens_to_share();
        // Without the state behind them they would be of no use.
        if start == end || pools.states.is_some() {
            return;
        }
        let prefix = self.prefix(start / PAGE_TOKENS);
        let tokens = &self.tokens[start..end.min(start + PAGE_TOKENS)];
        let Some(Begun { page, tokens, copy_of }) = pools.pages.begin(prefix, tokens) else {
            return;
        };
        self.pages.push(page);
        pools.copies.extend(copy_of.map(|from| (from, page)));
        self.computed += tokens;
        self.skip_draft();
    }

    /// What is computed was taken from the cache, where a draft has computed it, too.
    fn skip_draft(&mut self) {
        self.drafted = self.computed;
        self.unread.clear();
    }

    /// Holds pages for `tokens` tokens; false where the pool has too few. What was taken stays.
    pub(crate) fn hold(&mut self, tokens: usize, pool: &mut PagePool) -> bool {
        while self.pages.len() * PAGE_TOKENS < tokens {
            match pool.take() {
                Some(page) => self.pages.push(page),
                None => return false,
            }
        }
        true
    }

    /// Rows of the next piece, at most `budget`, and which of them want logits.
    pub(crate) fn piece(&self, budget: usize) -> (usize, LogitRows) {
        let left = self.tokens.len() - self.computed;
        let mut rows = left.min(budget);
        if self.scores_prompt() {
            // Rows before the first score are ordinary ones.
            let unscored = (self.scored - 1).saturating_sub(self.computed);
            if unscored > 0 {
                rows = rows.min(unscored);
            } else {
                rows = rows.min(SCORED_ROWS_MAX);
                return (rows, LogitRows::All);
            }
        }
        if let Some(vector) = &self.vector {
            return match (vector.is_of_last(), rows == left) {
                (false, _) => (rows, LogitRows::All),
                (true, true) => (rows, LogitRows::Last),
                (true, false) => (rows, LogitRows::None),
            };
        }
        let samples = rows == left && self.generated() < self.max_tokens;
        (rows, if samples { LogitRows::Last } else { LogitRows::None })
    }

    /// Whether an answer begins behind the next `rows` rows, and goes on: who asks for one token of
    /// many prompts, or for vectors, waits for all of them.
    pub(crate) fn begins_answer(&self, rows: usize) -> bool {
        self.computed + rows == self.tokens.len() && self.generated() + 1 < self.max_tokens
    }

    /// The names of the pages that the next `rows` rows fill, or begin and can fill.
    pub(crate) fn pages_within(&mut self, rows: usize) -> Vec<PrefixHash> {
        let first = self.computed / PAGE_TOKENS;
        let end = (self.computed + rows).div_ceil(PAGE_TOKENS).min(self.tokens.len() / PAGE_TOKENS);
        (first..end).map(|page| self.hash(page)).collect()
    }

    /// Lets others share the pages whose tokens are all computed, and what there is of the next.
    pub(crate) fn publish(&mut self, pools: &mut Pools) {
        // Where an answer ends within a guess, more was computed than it has tokens.
        let whole = self.computed.min(self.tokens.len());
        while self.published * PAGE_TOKENS < whole {
            let (page, start) = (self.pages[self.published], self.published * PAGE_TOKENS);
            let end = whole.min(start + PAGE_TOKENS);
            if pools.states.is_none() {
                let prefix = self.prefix(self.published);
                pools.pages.note(page, prefix, &self.tokens[start..end]);
            }
            if end - start < PAGE_TOKENS {
                break;
            }
            let hash = self.hash(self.published);
            pools.pages.publish(page, hash);
            self.published += 1;
        }
    }

    /// Gives back all pages and slots: what was computed must be computed, or found, again.
    pub(crate) fn release(&mut self, pools: &mut Pools) {
        pools.pages.release(&mut self.pages);
        self.state.release(pools);
        self.computed = 0;
        self.drafted = 0;
        self.unread.clear();
        self.published = 0;
        self.guessed.clear();
        self.vector = self.vector.take().map(|Vector { pooling, hidden, .. }| {
            // All states come again.
            Vector::new(pooling, hidden)
        });
    }

    /// Tokens in and out. `ended` where an end token was chosen, which is not among the tokens.
    pub(crate) fn usage(&self, ended: bool) -> Usage {
        Usage {
            prompt_tokens: self.prompt,
            cached_tokens: self.cached.unwrap_or(0),
            completion_tokens: self.generated() + usize::from(ended),
        }
    }
}

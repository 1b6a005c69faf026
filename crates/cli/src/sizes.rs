//! Turns a model's shape, wishes and free memory into the engine's sizes, or into what would fit.

use anyhow::{Result, bail};
use myriad_engine::EngineConfig;
use myriad_kernels::{KvCache, KvType, PAGE_TOKENS, RecurrentStates};
use myriad_model::Config;

use crate::screen::{advise, count, size};

/// How many full contexts the cache holds where nothing is said: most conversations are far from
/// full, and what is not used costs no memory.
const CONTEXTS_DEFAULT: usize = 4;

/// Shortest context that is taken without being asked for: below it a chat is no use.
const CONTEXT_MIN: usize = 512;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Tokens of one request.
    pub context: Option<usize>,
    /// Bytes of keys and values.
    pub kv_memory: Option<u64>,
    /// Type of keys and values.
    pub kv: KvType,
    /// Requests computed together.
    pub parallel: usize,
    /// Bytes that a draft adds to each page.
    pub draft_page_bytes: u64,
    /// States for guesses, in models with recurrent layers.
    pub guess_states: usize,
}

/// The engine's sizes, and what they cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// For the engine.
    pub engine: EngineConfig,
    /// Bytes of its pages.
    pub kv_bytes: u64,
    /// Bytes of its states, in models with recurrent layers.
    pub state_bytes: u64,
}

/// Fewest states of prefixes that are kept for reuse, where memory allows.
const SNAPSHOTS_MIN: usize = 4;

/// Bytes of the state of one sequence; 0 where all layers attend.
pub fn state_bytes(config: &Config) -> u64 {
    RecurrentStates::bytes_per_slot(&config.state_shapes()) as u64
}

/// Bytes of one page of keys and values, all layers together.
pub fn page_bytes(config: &Config, kv: KvType) -> u64 {
    KvCache::bytes_per_page(kv, &config.kv_shapes()) as u64
}

/// The same of the layer that guesses further tokens.
pub fn mtp_page_bytes(config: &Config, kv: KvType) -> u64 {
    KvCache::bytes_per_page(kv, &config.mtp_kv_shapes()) as u64
}

/// Bytes of keys and values of so many tokens.
pub fn kv_bytes(config: &Config, kv: KvType, tokens: usize) -> u64 {
    tokens.div_ceil(PAGE_TOKENS) as u64 * page_bytes(config, kv)
}

/// Fits a model with `weights` bytes of weights into `free` bytes of memory (none: unknown).
///
/// # Errors
/// Where weights, context or KV memory do not fit; the message says what would.
pub fn plan(config: &Config, weights: u64, free: Option<u64>, wishes: Wishes) -> Result<Sizes> {
    let free = free.unwrap_or(u64::MAX);
    // Working memory of a step, and air to breathe for everything else on the machine.
    let left = budget_of(free).saturating_sub(weights);
    if left == 0 {
        return Err(advise(
            format!(
                "the weights take {}, but only {} of memory are free",
                size(weights),
                size(free)
            ),
            "end other programs, or take a smaller or more strongly quantised model",
        ));
    }
    if config.encoder.is_some() {
        return encoder(config, wishes);
    }
    let guesses = wishes.guess_states;
    let (parallel, snapshots) = states(config, wishes.parallel.max(1), guesses, left)?;
    let state_bytes = match state_bytes(config) {
        0 => 0,
        bytes => (parallel + snapshots + guesses) as u64 * bytes,
    };
    let left = left - state_bytes;
    let page = page_bytes(config, wishes.kv) + wishes.draft_page_bytes;
    let room = usize::try_from(left / page).unwrap_or(usize::MAX);
    let limit = kv_limit(wishes, page, room, left)?;
    let context = context(config, wishes, page, limit)?;
    let one = context.div_ceil(PAGE_TOKENS);
    let pages = match wishes.kv_memory {
        Some(_) => limit,
        None => {
            let wanted = one.saturating_mul(wishes.parallel.clamp(1, CONTEXTS_DEFAULT));
            wanted.min(one.max(room / 2))
        }
    };
    let engine = EngineConfig {
        context,
        parallel,
        step_tokens: EngineConfig::STEP_TOKENS,
        pages,
        kv: wishes.kv,
        snapshots,
        speculate: true,
    };
    Ok(Sizes { engine, kv_bytes: pages as u64 * page, state_bytes })
}

impl Sizes {
    /// Bytes of memory that a model takes, of which its weights hold so many.
    pub fn memory_bytes(&self, weights: u64) -> u64 {
        weights + self.kv_bytes + self.state_bytes
    }
}

/// Of so much free memory, what models may take: the rest is working memory, and air for others.
pub fn budget_of(free: u64) -> u64 {
    free - free / 16
}

/// The free memory of which [`budget_of`] leaves so much.
pub fn free_of(budget: u64) -> u64 {
    budget.saturating_add(budget / 15)
}

/// Sizes of an encoder, which keeps nothing of a text: its pages are working memory of a step.
fn encoder(config: &Config, wishes: Wishes) -> Result<Sizes> {
    let made_for = config.context_length;
    let context = wishes.context.unwrap_or(made_for);
    check_made_for(context, made_for)?;
    let step_tokens = EngineConfig::STEP_TOKENS;
    let pages = step_tokens.max(context).div_ceil(PAGE_TOKENS);
    let parallel = wishes.parallel.max(1);
    let engine = EngineConfig {
        context,
        parallel,
        step_tokens,
        pages,
        kv: wishes.kv,
        snapshots: 0,
        speculate: false,
    };
    Ok(Sizes { engine, kv_bytes: 0, state_bytes: 0 })
}

fn check_made_for(wanted: usize, made_for: usize) -> Result<()> {
    if wanted > made_for {
        return Err(advise(
            format!("--context {wanted} is more than this model was made for"),
            format!("take --context {made_for} or less"),
        ));
    }
    Ok(())
}

/// Requests computed together, and states of prefixes to keep: as many as asked for and as half of
/// the memory holds beside those of guesses.
fn states(config: &Config, parallel: usize, guesses: usize, left: u64) -> Result<(usize, usize)> {
    let bytes = state_bytes(config);
    if bytes == 0 {
        return Ok((parallel, 0));
    }
    let room = usize::try_from(left / 2 / bytes).unwrap_or(usize::MAX).saturating_sub(guesses);
    if room == 0 {
        return Err(advise(
            format!(
                "the state of one conversation takes {}, and only {} of memory are left beside \
                 the weights",
                size(bytes * (1 + guesses as u64)),
                size(left)
            ),
            "end other programs, or take a smaller or more strongly quantised model",
        ));
    }
    let parallel = parallel.min(room);
    Ok((parallel, (room - parallel).min(parallel.max(SNAPSHOTS_MIN))))
}

/// Pages that may be had: as many as fit, or as were asked for.
fn kv_limit(wishes: Wishes, page: u64, room: usize, left: u64) -> Result<usize> {
    let Some(wanted) = wishes.kv_memory else { return Ok(room) };
    if wanted < page {
        bail!(
            "--kv-memory {} holds nothing: {PAGE_TOKENS} tokens of this model take {}",
            size(wanted),
            size(page)
        );
    }
    if wanted > left {
        return Err(advise(
            format!("--kv-memory {} does not fit: {} are left", size(wanted), size(left)),
            format!("take --kv-memory {}MB or less", left / 1_000_000),
        ));
    }
    Ok(usize::try_from(wanted / page).unwrap_or(usize::MAX))
}

/// Tokens of one request: as asked for, or as many as the model and the memory allow.
fn context(config: &Config, wishes: Wishes, page: u64, limit: usize) -> Result<usize> {
    let fits = limit.saturating_mul(PAGE_TOKENS);
    let made_for = config.context_length;
    let Some(wanted) = wishes.context else {
        if fits < made_for.min(CONTEXT_MIN) {
            let needed = made_for.min(CONTEXT_MIN);
            bail!(
                "a context of {} tokens needs {} of memory, and only {} tokens fit beside the \
                 weights\nend other programs, take a smaller model, or ask for --context {}",
                count(needed),
                size(needed.div_ceil(PAGE_TOKENS) as u64 * page),
                count(fits),
                fits.max(1)
            );
        }
        // Without being asked, half of the memory is left to others.
        let modest = if wishes.kv_memory.is_some() { fits } else { fits / 2 };
        return Ok(made_for.min(modest.max(CONTEXT_MIN)).min(fits));
    };
    check_made_for(wanted, made_for)?;
    if wanted > fits {
        let needed = size(wanted.div_ceil(PAGE_TOKENS) as u64 * page);
        let has = match wishes.kv_memory {
            Some(bytes) => format!("more than --kv-memory {}", size(bytes)),
            None => format!("more than the {} that are left", size(limit as u64 * page)),
        };
        return Err(advise(
            format!("--context {wanted} does not fit: it needs {needed} of KV memory, {has}"),
            format!("take --context {fits} or less"),
        ));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use myriad_formats::Gguf;
    use myriad_kernels::BlockType;
    use myriad_model::Family;
    use myriad_model::synthetic::{Shape, gguf};

    /// 3 layers, 2 key heads of 32: 3 · 2 · 32 · 2 · 2 bytes a token; made for 4,096 tokens.
    fn config() -> Config {
        let shape = Shape { context: 4096, ..Shape::small(Family::Llama, BlockType::Q8_0) };
        Config::read(&Gguf::from_bytes(gguf(&shape, 1)).unwrap()).unwrap()
    }

    fn wishes(context: Option<usize>, kv_memory: Option<u64>, parallel: usize) -> Wishes {
        Wishes { context, kv_memory, parallel, ..Wishes::default() }
    }

    #[test]
    fn an_encoder_keeps_nothing() {
        let file = Gguf::from_bytes(gguf(&Shape::small(Family::Bert, BlockType::Q8_0), 1)).unwrap();
        let config = Config::read(&file).unwrap();
        let sizes = plan(&config, 100, Some(1 << 30), wishes(None, None, 4)).unwrap();
        assert_eq!((sizes.engine.context, sizes.engine.pages, sizes.kv_bytes), (512, 16, 0));
        let long = plan(&config, 100, Some(1 << 30), wishes(Some(513), None, 4)).unwrap_err();
        assert!(long.to_string().contains("--context 512"), "{long}");
    }

    #[test]
    fn with_plenty_of_memory_the_model_gets_what_it_was_made_for() {
        let config = config();
        let sizes = plan(&config, 1 << 20, Some(16 << 30), wishes(None, None, 16)).unwrap();
        assert_eq!(sizes.engine.context, 4096);
        assert_eq!(sizes.engine.pages, 4 * 4096 / PAGE_TOKENS);
        assert_eq!(sizes.kv_bytes, 4 * kv_bytes(&config, KvType::F16, 4096));
        let alone = plan(&config, 1 << 20, None, wishes(None, None, 1)).unwrap();
        assert_eq!(alone.engine.pages, 4096 / PAGE_TOKENS);
    }

    #[test]
    fn a_short_memory_shortens_a_context_that_was_not_asked_for() {
        let config = config();
        let free = kv_bytes(&config, KvType::F16, 4096);
        let sizes = plan(&config, 0, Some(free), wishes(None, None, 4)).unwrap();
        assert!((1024..=2048).contains(&sizes.engine.context), "{sizes:?}");
        assert!(sizes.kv_bytes < free);
        let error =
            plan(&config, 0, Some(kv_bytes(&config, KvType::F16, 256)), wishes(None, None, 4));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a context of 512 tokens needs"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let config = config();
        let free = kv_bytes(&config, KvType::F16, 2048);
        let says =
            |weights, wishes| plan(&config, weights, Some(free), wishes).unwrap_err().to_string();
        let text = says(0, wishes(Some(3000), None, 1));
        assert!(text.contains("--context 3000 does not fit"), "{text}");
        let fits: usize =
            text.rsplit("--context ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(plan(&config, 0, Some(free), wishes(Some(fits), None, 1)).is_ok(), "{text}");
        assert!(says(0, wishes(Some(5000), None, 1)).contains("take --context 4096 or less"));
        assert!(says(0, wishes(None, Some(free), 1)).contains("--kv-memory"));
        assert!(says(0, wishes(None, Some(10), 1)).contains("holds nothing"));
        let small = Some(kv_bytes(&config, KvType::F16, 64));
        assert!(says(0, wishes(Some(65), small, 1)).contains("take --context 64 or less"));
        assert!(says(free, wishes(None, None, 1)).contains("the weights take"));
    }

    #[test]
    fn states_share_the_memory_with_keys_and_values() {
        let shape = Shape { context: 4096, ..Shape::small(Family::Qwen35, BlockType::Q8_0) };
        let config = Config::read(&Gguf::from_bytes(gguf(&shape, 1)).unwrap()).unwrap();
        let state = state_bytes(&config);
        assert!(state > 0);
        let sizes = plan(&config, 0, Some(16 << 30), wishes(None, None, 6)).unwrap();
        assert_eq!((sizes.engine.parallel, sizes.engine.snapshots), (6, 6));
        assert_eq!(sizes.state_bytes, 12 * state);
        let guesses = Wishes { guess_states: 7, ..wishes(None, None, 6) };
        let sizes = plan(&config, 0, Some(16 << 30), guesses).unwrap();
        assert_eq!((sizes.engine.parallel, sizes.state_bytes), (6, 19 * state));
        // A sixteenth is left to others, and half of the rest is for keys and values.
        let sizes = plan(&config, 0, Some(17 * state), wishes(Some(64), None, 6)).unwrap();
        assert_eq!((sizes.engine.parallel, sizes.engine.snapshots), (6, 1));
        let sizes = plan(&config, 0, Some(7 * state), wishes(Some(64), None, 6)).unwrap();
        assert_eq!((sizes.engine.parallel, sizes.engine.snapshots), (3, 0));
        let error = plan(&config, 0, Some(2 * state), wishes(Some(64), None, 6)).unwrap_err();
        assert!(error.to_string().contains("the state of one conversation takes"), "{error}");
    }

    #[test]
    fn bytes_hold_nearly_twice_as_many_tokens_as_half_floats() {
        let config = config();
        let memory = Some(kv_bytes(&config, KvType::F16, 1024));
        let wishes = Wishes { kv: KvType::Q8_0, ..wishes(None, memory, 8) };
        let sizes = plan(&config, 0, Some(1 << 30), wishes).unwrap();
        assert_eq!((sizes.engine.kv, sizes.engine.context), (KvType::Q8_0, 1920));
    }

    #[test]
    fn kv_memory_is_taken_as_given() {
        let config = config();
        let kv = kv_bytes(&config, KvType::F16, 1024);
        let sizes = plan(&config, 0, Some(1 << 30), wishes(None, Some(kv + 7), 8)).unwrap();
        assert_eq!((sizes.engine.context, sizes.kv_bytes), (1024, kv));
    }
}

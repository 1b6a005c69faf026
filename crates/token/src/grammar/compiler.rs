//! Schemas into compiled grammars, each once, within limits of time and size.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Value, json};

use super::error::GrammarError;
use super::schema::Judged;
use super::source::{AnswerGrammar, TextGrammar};
use super::vocabulary::vocabulary;
use super::{Grammar, failure, locate};
use crate::limits::{
    GRAMMAR_COMPILE_TIME_MAX, GRAMMAR_COMPILERS_MAX, GRAMMAR_MASK_FUEL, GRAMMAR_STACK_BYTES,
    GRAMMAR_STATES_MAX, GRAMMARS_KEPT_MAX, SCHEMA_BYTES_MAX,
};
use crate::{Opening, Tokenizer};

/// Compiles grammars for one vocabulary and keeps the latest.
pub struct GrammarCompiler {
    inner: Arc<Inner>,
}

/// What the compiling threads share.
struct Inner {
    tokenizer: Arc<Tokenizer>,
    /// The vocabulary's tree, made for the first grammar; `None` before that.
    factory: Mutex<Option<Arc<ParserFactory>>>,
    /// By the text of what was compiled, the latest first.
    kept: Mutex<VecDeque<(String, Grammar)>>,
    /// Threads that compile.
    busy: Mutex<usize>,
    freed: Condvar,
}

impl GrammarCompiler {
    /// A compiler that has done nothing yet: the first grammar pays for the vocabulary's tree.
    pub fn new(tokenizer: Arc<Tokenizer>) -> GrammarCompiler {
        let inner = Inner {
            tokenizer,
            factory: Mutex::new(None),
            kept: Mutex::new(VecDeque::new()),
            busy: Mutex::new(0),
            freed: Condvar::new(),
        };
        GrammarCompiler { inner: Arc::new(inner) }
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// As [`Self::json_schema`].
    pub fn json_object(&self) -> Result<Grammar, GrammarError> {
        self.json_schema(&json!({ "type": "object" }))
    }

    /// JSON that a schema allows.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn json_schema(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        self.compile(AnswerGrammar::of_text(TextGrammar::Json(schema.clone())))
    }

    /// The grammar of an answer. Blocks while it is compiled.
    ///
    /// # Errors
    /// [`GrammarError`]: what is wrong with a schema and where, with the tool whose parameters are
    /// wrong, or that it takes too much work; [`GrammarError::Unsupported`] for calls in a format
    /// that is not known.
    pub fn compile(&self, source: AnswerGrammar) -> Result<Grammar, GrammarError> {
        let key = source.key();
        if key.len() > SCHEMA_BYTES_MAX {
            let (found, limit) = (key.len(), SCHEMA_BYTES_MAX);
            return Err(GrammarError::TooLarge { what: "bytes", found, limit });
        }
        if let Some(grammar) = self.inner.find(&key) {
            return Ok(grammar);
        }
        let deadline = Instant::now() + GRAMMAR_COMPILE_TIME_MAX;
        let place = Place::take(&self.inner, deadline)?;
        // Whoever had the place may have compiled the same.
        if let Some(grammar) = self.inner.find(&key) {
            return Ok(grammar);
        }
        let inner = Arc::clone(&self.inner);
        let (sender, receiver) = mpsc::channel();
        let builder = std::thread::Builder::new().name("grammar".into());
        let thread = builder.stack_size(GRAMMAR_STACK_BYTES).spawn(move || {
            // Held to the end, even if nobody waits any more.
            let _place = place;
            let result = inner.compile(&source);
            if let Ok(grammar) = &result {
                inner.keep(key, grammar.clone());
            }
            let _ = sender.send(result);
        });
        if thread.is_err() {
            return Err(GrammarError::Busy);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.max(Duration::from_secs(1))) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(GrammarError::TooSlow(GRAMMAR_COMPILE_TIME_MAX))
            }
            // It panicked.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(GrammarError::TooComplex("the compiler failed on it".into()))
            }
        }
    }
}

/// A place among those who compile; dropping it frees it.
struct Place {
    inner: Arc<Inner>,
}

impl Place {
    fn take(inner: &Arc<Inner>, deadline: Instant) -> Result<Place, GrammarError> {
        let mut busy = lock(&inner.busy);
        while *busy >= GRAMMAR_COMPILERS_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(GrammarError::Busy);
            }
            let woken = inner.freed.wait_timeout(busy, left);
            busy = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy += 1;
        Ok(Place { inner: Arc::clone(inner) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&self.inner.busy) -= 1;
        self.inner.freed.notify_one();
    }
}

/// Nothing that a panic could leave half done is behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn find(&self, key: &str) -> Option<Grammar> {
        let mut kept = lock(&self.kept);
        let place = kept.iter().position(|(known, _)| known == key)?;
        let entry = kept.remove(place)?;
        let grammar = entry.1.clone();
        kept.push_front(entry);
        Some(grammar)
    }

    fn keep(&self, key: String, grammar: Grammar) {
        let mut kept = lock(&self.kept);
        kept.push_front((key, grammar));
        kept.truncate(GRAMMARS_KEPT_MAX);
    }

    fn factory(&self) -> Result<Arc<ParserFactory>, GrammarError> {
        let mut factory = lock(&self.factory);
        if let Some(factory) = &*factory {
            return Ok(Arc::clone(factory));
        }
        let unsupported = |error: String| GrammarError::Unsupported(error);
        let environment = vocabulary(&self.tokenizer);
        let slices = SlicedBiasComputer::json_slices();
        let made = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut made = made.map_err(|error| unsupported(error.to_string()))?;
        made.quiet();
        let limits = made.limits_mut();
        limits.max_lexer_states = GRAMMAR_STATES_MAX;
        limits.step_lexer_fuel = GRAMMAR_MASK_FUEL;
        limits.verbose_errors = false;
        let made = Arc::new(made);
        *factory = Some(Arc::clone(&made));
        Ok(made)
    }

    fn compile(&self, source: &AnswerGrammar) -> Result<Grammar, GrammarError> {
        // What is too large shows at once only where nothing stands before it.
        if source.opening != Opening::Text {
            self.compile(&source.bare())?;
        }
        let factory = self.factory()?;
        let top = TopLevelGrammar::from_lark(source.lark(&self.tokenizer)?);
        let parser = factory.create_parser(top);
        let parser = parser.map_err(|error| source.refused(&short(&error.to_string())))?;
        begin(Matcher::new(Ok(parser)), source.leaves_text_free())
    }
}

/// How answers in JSON are written.
pub(super) fn options() -> JsonCompileOptions {
    JsonCompileOptions {
        // A model that is unsure may write white space without end.
        whitespace_pattern: Some(r"[\x20\x09]{1,2}|\r?\n[\x20\x09]{0,40}".into()),
        // Without \u: it could spell the name of a property in a second way.
        json_allowed_escapes: Some("nrbtf\\\"".into()),
        ..JsonCompileOptions::default()
    }
}

/// Compiles a schema without a vocabulary, which tells errors of the schema from others.
pub(super) fn check(judged: &Judged, whole: &Value) -> Result<(), GrammarError> {
    let options = options();
    let builder = llguidance::GrammarBuilder::new(None, ParserLimits::default());
    match options.json_to_llg_no_validate(builder, whole.clone()) {
        Ok(_) => Ok(()),
        Err(error) => Err(locate::locate(judged, &options, &error.to_string())),
    }
}

fn short(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// A grammar whose first mask has been worked out, which fills its caches.
fn begin(mut matcher: Matcher, leaves_text_free: bool) -> Result<Grammar, GrammarError> {
    let refused = |message: String| match failure(&message) {
        None => GrammarError::Unsatisfiable("none can be begun".into()),
        Some(_) => GrammarError::TooComplex(short(&message)),
    };
    let mask = matcher.compute_mask().map_err(|error| refused(error.to_string()))?;
    let grammar = Grammar { begin: Arc::new(matcher), leaves_text_free };
    // What is too large shows behind the first bracket.
    let mut second = grammar.start();
    let first = mask.first_bit_set().unwrap_or_default() as u32;
    let mut allowed = vec![0; mask.as_slice().len()];
    if second.accept(first).and_then(|()| second.mask(&mut allowed)).is_err() {
        return Err(GrammarError::TooComplex("its first choice is too large".into()));
    }
    Ok(grammar)
}

//! Turns logits into a token, its score, and nothing else.

/// Natural log-probabilities of a row of logits. [vocab] → [vocab]
pub fn log_probabilities(_logits: &[f32]) -> Vec<f32> {
    todo!()
}

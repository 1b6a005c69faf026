//! Turns states and the tokens behind them into guesses of the tokens behind those.

use super::{File, Layer, Linear, Reference, rms_norm};
use crate::error::ModelError;

/// The twin of `forward`'s layer that guesses further tokens. Of what is none, it uses the model's.
pub(super) struct MtpTwin {
    embedding: Option<Linear>,
    token_norm: Vec<f32>,
    state_norm: Vec<f32>,
    joined: Linear,
    layer: Layer,
    norm: Option<Vec<f32>>,
    head: Option<Linear>,
}

impl MtpTwin {
    pub fn load(file: &File<'_>) -> Result<Option<MtpTwin>, ModelError> {
        let Some(mtp) = &file.config.mtp else { return Ok(None) };
        let index = file.config.layers.len();
        let name = |part: &str| format!("blk.{index}.nextn.{part}");
        let vector = |part: &str| file.vector(&format!("{}.weight", name(part)));
        let optional = |is_there: bool, part: &str| match is_there {
            true => file.linear(&name(part)).map(Some),
            false => Ok(None),
        };
        Ok(Some(MtpTwin {
            embedding: optional(mtp.embedding, "embed_tokens")?,
            token_norm: vector("enorm")?,
            state_norm: vector("hnorm")?,
            joined: file.linear(&name("eh_proj"))?,
            layer: file.layer(index, &mtp.layer)?,
            norm: mtp.norm.then(|| vector("shared_head_norm")).transpose()?,
            head: optional(mtp.head, "shared_head_head")?,
        }))
    }
}

impl Reference {
    /// What the layer that guesses further tokens makes of the states of all positions, as
    /// [`Reference::states`] has them, and of the token behind each: what its head sees.
    /// states: [tokens, hidden] → [tokens, hidden]
    ///
    /// # Panics
    /// Where the model has no such layer, there is not one state for each token, or a token is not
    /// below the model's `vocab`.
    pub fn guess_states(&self, states: &[f32], behind: &[u32]) -> Vec<f32> {
        let (twin, mtp) = (self.twin(), self.config.mtp.as_ref().expect("it was loaded"));
        let (hidden, epsilon) = (self.config.hidden, self.config.norm_epsilon);
        assert_eq!(states.len(), behind.len() * hidden, "one state for each token");
        let embedding = twin.embedding.as_ref().unwrap_or(&self.embedding);
        let tokens = rms_norm(&self.embed(embedding, behind), &twin.token_norm, epsilon);
        let states = rms_norm(states, &twin.state_norm, epsilon);
        let pairs = tokens.chunks_exact(hidden).zip(states.chunks_exact(hidden));
        let pairs: Vec<f32> = pairs.flat_map(|(token, state)| [token, state].concat()).collect();
        let mut x = twin.joined.apply(&pairs);
        twin.layer.apply(&mut x, &mtp.layer, &self.config);
        rms_norm(&x, twin.norm.as_ref().unwrap_or(&self.output_norm), epsilon)
    }

    /// The logits of such states. [rows, hidden] → [rows, vocab]
    ///
    /// # Panics
    /// Where the model has no such layer.
    pub fn guess_head(&self, states: &[f32]) -> Vec<f32> {
        match &self.twin().head {
            Some(head) => head.apply(states),
            None => self.head(states),
        }
    }

    fn twin(&self) -> &MtpTwin {
        self.mtp.as_ref().expect("a model with multi-token prediction")
    }
}

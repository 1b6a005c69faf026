//! Turns known distributions into draws, and holds those to what the parameters promise.

use super::*;

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(sampling, &[1, 2], 8, 0, &[])
}

/// Logits whose softmax is these probabilities.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

const EIGHT: [f32; 8] = [0.3, 0.02, 0.25, 0.03, 0.15, 0.1, 0.1, 0.05];

/// How often each token comes, as shares.
fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
    const DRAWS: usize = 20_000;
    let sampler = Sampler::new(sampling, &[], logits.len(), 0, &[]);
    let mut counts = vec![0.0; logits.len()];
    for position in 0..DRAWS {
        counts[sampler
            .choose(logits, position, 0, None, &mut Scratch::default())
            .expect("a token")
            .0 as usize] += 1.0 / DRAWS as f64;
    }
    counts
}

fn assert_close(found: &[f64], right: &[f64]) {
    for (token, (found, right)) in found.iter().zip(right).enumerate() {
        // Five standard deviations of 20,000 draws.
        let bound = 5.0 * (right * (1.0 - right) / 20_000.0).sqrt();
        assert!((found - right).abs() <= bound + 1e-9, "token {token}: {found}, not {right}");
    }
}

#[test]
fn exp_is_that_of_the_standard_library() {
    let mut worst = 0.0f64;
    for step in 0..=870_000 {
        let x = -(step as f32) / 10_000.0;
        let right = f64::from(x).exp();
        worst = worst.max((f64::from(exp(x)) - right).abs() / right);
    }
    println!("worst relative error: {worst:e}");
    assert!(worst < 2.0 * f64::from(f32::EPSILON));
    assert_eq!(exp(0.0), 1.0);
    assert_eq!([exp(-88.0), exp(f32::NEG_INFINITY), exp(f32::NAN)], [0.0; 3]);
}

#[test]
fn draws_follow_the_distribution() {
    let right: Vec<f64> = EIGHT.iter().map(|&p| f64::from(p)).collect();
    assert_close(&shares(Sampling::default(), &logits(&EIGHT)), &right);
    // Temperature 2 takes square roots.
    let roots: Vec<f64> = right.iter().map(|p| p.sqrt()).collect();
    let whole: f64 = roots.iter().sum();
    let roots: Vec<f64> = roots.iter().map(|p| p / whole).collect();
    let sampling = Sampling { temperature: 2.0, ..Sampling::default() };
    assert_close(&shares(sampling, &logits(&EIGHT)), &roots);
}

#[test]
fn top_k_top_p_and_min_p_keep_what_they_promise() {
    let kept = |sampling: Sampling, tokens: &[usize]| {
        let mass: f32 = tokens.iter().map(|&token| EIGHT[token]).sum();
        let right: Vec<f64> = (0..8)
            .map(|token| if tokens.contains(&token) { EIGHT[token] / mass } else { 0.0 })
            .map(f64::from)
            .collect();
        assert_close(&shares(sampling, &logits(&EIGHT)), &right);
    };
    let usual = Sampling::default;
    kept(Sampling { top_k: Some(1), ..usual() }, &[0]);
    kept(Sampling { top_k: Some(3), ..usual() }, &[0, 2, 4]);
    // Of the two equal ones, the lower id.
    kept(Sampling { top_k: Some(4), ..usual() }, &[0, 2, 4, 5]);
    kept(Sampling { top_k: Some(1000), ..usual() }, &[0, 1, 2, 3, 4, 5, 6, 7]);
    kept(Sampling { top_p: 0.0, ..usual() }, &[0]);
    kept(Sampling { top_p: 0.5, ..usual() }, &[0, 2]);
    kept(Sampling { top_p: 0.56, ..usual() }, &[0, 2, 4]);
    kept(Sampling { min_p: 0.45, ..usual() }, &[0, 2, 4]);
    kept(Sampling { min_p: 1.0, ..usual() }, &[0]);
    // Of the top three (0.7 in all), 0.78 is the first two and a crumb.
    kept(Sampling { top_k: Some(3), top_p: 0.78, ..usual() }, &[0, 2]);
    kept(Sampling { top_k: Some(3), top_p: 0.79, min_p: 0.6, ..usual() }, &[0, 2]);
}

#[test]
fn a_large_vocabulary_is_ranked_as_by_a_full_sort() {
    let mut state = 7u64;
    let weights: Vec<f32> = (0..5000)
        .map(|_| {
            state = mix(state);
            // Many equal ones.
            (state % 300) as f32 / 300.0
        })
        .collect();
    let mut right: Vec<u32> = (0..5000).collect();
    right.sort_by(|a, b| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b)));
    let mut ranking = Ranking::new(&weights);
    for (rank, &token) in right.iter().enumerate() {
        assert_eq!(ranking.at(rank), token, "rank {rank}");
    }
    assert_eq!(likeliest(&weights, 20), right[..20]);
    let nucleus = Sampling { top_p: 0.999, ..Sampling::default() };
    let sampler = Sampler::new(nucleus, &[], 5000, 0, &[]);
    let logits: Vec<f32> = weights.iter().map(|weight| weight.ln()).collect();
    let drawn: Vec<u32> = (0..500)
        .map(|position| {
            sampler.choose(&logits, position, 0, None, &mut Scratch::default()).expect("a token").0
        })
        .collect();
    assert!(drawn.iter().all(|token| weights[*token as usize] > 0.0));
}

#[test]
fn zero_temperature_takes_the_likeliest_and_the_lower_id() {
    let greedy = sampler(Sampling::greedy());
    assert_eq!(
        greedy
            .choose(&[0.0, 3.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0], 5, 0, None, &mut Scratch::default())
            .expect("a token")
            .0,
        1
    );
}

#[test]
fn seed_and_position_decide() {
    let draws = |seed: u64| -> Vec<u32> {
        let sampler = sampler(Sampling { seed, ..Sampling::default() });
        (0..64)
            .map(|position| {
                sampler
                    .choose(&[0.0; 8], position, 0, None, &mut Scratch::default())
                    .expect("a token")
                    .0
            })
            .collect()
    };
    assert_eq!(draws(3), draws(3));
    assert_ne!(draws(3), draws(4));
    let mean = (0..10_000).map(|position| uniform(9, position)).sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.015, "{mean}");
}

#[test]
fn penalties_and_biases() {
    let base = [1.0, 2.0, -2.0, 0.5, 0.0, 0.0, 0.0, 0.0];
    let adjusted = |sampling: Sampling| {
        let mut sampler = sampler(sampling);
        for token in [3, 3, 2] {
            sampler.record(token);
        }
        let mut adjusted = Vec::new();
        sampler.adjust(&base, 3, &mut adjusted).then_some(adjusted)
    };
    let usual = Sampling::default;
    assert_eq!(adjusted(usual()), None);
    // Prompt (1, 2) and answer (3, 3, 2).
    let found = adjusted(Sampling { repetition_penalty: 2.0, ..usual() }).unwrap();
    assert_eq!(found[..5], [1.0, 1.0, -4.0, 0.25, 0.0]);
    // The answer alone.
    let found = adjusted(Sampling { frequency_penalty: 0.5, ..usual() }).unwrap();
    assert_eq!(found[..5], [1.0, 2.0, -2.5, -0.5, 0.0]);
    let found = adjusted(Sampling { presence_penalty: 0.5, ..usual() }).unwrap();
    assert_eq!(found[..5], [1.0, 2.0, -2.5, 0.0, 0.0]);
    let found = adjusted(Sampling { logit_bias: vec![(0, 5.0), (4, -100.0)], ..usual() }).unwrap();
    assert_eq!(found[..5], [6.0, 2.0, -2.0, 0.5, -100.0]);
}

#[test]
fn end_tokens_wait_for_the_least_number_of_tokens() {
    let sampler = Sampler::new(Sampling::greedy(), &[], 3, 2, &[1]);
    let logits = [0.0, 9.0, 1.0];
    let chosen: Vec<u32> = (0..4)
        .map(|generated| {
            sampler.choose(&logits, 7, generated, None, &mut Scratch::default()).expect("a token").0
        })
        .collect();
    assert_eq!(chosen, [2, 2, 1, 1]);
}

#[test]
fn scores_are_those_of_the_model_alone() {
    let sampling = Sampling {
        temperature: 0.0,
        logit_bias: vec![(0, -100.0)],
        logprobs: Some(3),
        ..Sampling::default()
    };
    let (token, score) = sampler(sampling)
        .choose(&logits(&EIGHT), 0, 0, None, &mut Scratch::default())
        .expect("a token");
    let score = score.unwrap();
    assert_eq!((token, score.token), (2, 2));
    assert!((score.logprob - 0.25f32.ln()).abs() < 1e-6);
    assert_eq!(score.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 2, 4]);
    assert!((score.top[0].1 - 0.3f32.ln()).abs() < 1e-6);
    let sum: f32 = log_probabilities(&logits(&EIGHT)).iter().map(|p| p.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

#[test]
fn broken_logits_do_not_panic() {
    let nan = f32::NAN;
    let infinity = f32::INFINITY;
    let rows = [
        [nan; 8],
        [f32::NEG_INFINITY; 8],
        [infinity; 8],
        [nan, 1.0, infinity, -infinity, 0.0, nan, 0.0, 0.0],
        [f32::MAX, f32::MIN, 0.0, 0.0, 0.0, 0.0, 0.0, nan],
    ];
    for row in rows {
        for sampling in [
            Sampling::greedy(),
            Sampling { logprobs: Some(20), ..Sampling::default() },
            Sampling { top_k: Some(3), top_p: 0.5, min_p: 0.1, ..Sampling::default() },
            Sampling { temperature: 1e-30, repetition_penalty: 1.5, ..Sampling::default() },
        ] {
            assert!(
                sampler(sampling)
                    .choose(&row, 0, 0, None, &mut Scratch::default())
                    .expect("a token")
                    .0
                    < 8
            );
        }
    }
    // What cannot be is never chosen.
    let row = [nan, -infinity, 0.0, nan, 0.0, nan, nan, nan];
    let found = shares(Sampling::default(), &row);
    assert_close(&found, &[0.0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn the_largest_logit_is_found_wherever_it_stands() {
    let nan = f32::NAN;
    for count in [1, 15, 16, 17, 63, 64, 65, 200] {
        let low: Vec<f32> = (0..count).map(|at| -(at as f32) / 7.0 - 1.0).collect();
        for place in 0..count {
            let mut row = low.clone();
            row[place] = 3.0;
            row[count - 1] = 3.0;
            assert_eq!(best(&row), place as u32, "{place} of {count}");
            row.iter_mut().filter(|logit| **logit < 0.0).for_each(|logit| *logit = nan);
            assert_eq!(best(&row), place as u32, "{place} of {count}, others NaN");
        }
    }
    assert_eq!(best(&[nan, f32::NEG_INFINITY, nan]), 1);
    assert_eq!(best(&[nan; 40]), 0);
}

#[test]
fn few_allowed_tokens_and_many_are_drawn_by_their_weights() {
    let logits: Vec<f32> = (0..256).map(|token| (token % 5) as f32 / 2.0).collect();
    for step in [3, 5, 40] {
        let mut words = vec![0u32; 8];
        (0..256).step_by(step).for_each(|token| words[token / 32] |= 1 << (token % 32));
        let mut listed = logits.clone();
        let (mut tokens, mut weights) = (Vec::new(), Vec::new());
        gather(&words, &mut tokens, &mut listed);
        assert_eq!(tokens, (0..256).step_by(step).collect::<Vec<u32>>());
        let mut masked = logits.clone();
        rule_out(&words, &mut masked);
        let sampler = Sampler::new(Sampling::default(), &[], 256, 0, &[]);
        let whole: f32 = listed.iter().map(|x| x.exp()).sum();
        let mut shares = [vec![0.0; 256], vec![0.0; 256]];
        for position in 0..20_000 {
            let from_list = tokens[sampler.draw(&listed, position, &mut weights) as usize];
            let from_all = sampler.draw(&masked, position, &mut weights);
            shares[0][from_list as usize] += 1.0 / 20_000.0;
            shares[1][from_all as usize] += 1.0 / 20_000.0;
        }
        let right = (0..256).map(|token| match token % step {
            0 => f64::from(logits[token].exp() / whole),
            _ => 0.0,
        });
        let right: Vec<f64> = right.collect();
        shares.iter().for_each(|shares| assert_close(shares, &right));
    }
}

#[test]
fn no_token_that_may_not_come_is_drawn_from_broken_logits() {
    let words = [0b1000_0010u32];
    for row in [[f32::NAN; 8], [f32::INFINITY; 8], [f32::NEG_INFINITY; 8]] {
        let mut masked = row;
        rule_out(&words, &mut masked);
        for temperature in [0.0, 1.0, f32::MAX] {
            let sampler = sampler(Sampling { temperature, ..Sampling::default() });
            let drawn = sampler.draw(&masked, 3, &mut Vec::new());
            assert!([1, 7].contains(&drawn), "{row:?} at {temperature}: {drawn}");
        }
    }
}

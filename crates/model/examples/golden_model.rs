//! Turns a golden's name into its GGUF file, and prints its prompts for
//! `tools/make_llama_goldens.sh`.

#[path = "../tests/common/golden_models.rs"]
mod golden_models;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, path] = arguments.as_slice() else {
        return Err(
            format!("usage: golden_model NAME FILE; names: {:?}", golden_models::NAMES).into()
        );
    };
    let mut parts = golden_models::parts(name);
    std::fs::write(path, parts.to_bytes())?;
    let vocab = parts.tensor("token_embd.weight").shape[1];
    for prompt in golden_models::prompts(vocab) {
        let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
        println!("--tokens {}", ids.join(","));
    }
    println!("--rows {}", golden_models::ROWS);
    Ok(())
}

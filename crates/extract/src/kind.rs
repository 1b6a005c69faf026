//! Turns a file's name and first bytes into what kind of file it is.

use serde::{Deserialize, Serialize};

use crate::ExtractError;
use crate::limits::HEAD_BYTES;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text without a form that we know.
    Text,
    /// Source code, or a file of settings.
    Code,
    /// Text with marks of Markdown.
    Markdown,
    /// Rows of values between commas or tabs.
    Csv,
    /// Pages as they are printed.
    Pdf,
    /// A document of Word, and of others who write its format.
    Docx,
}

/// First bytes of what is no text. They are compared in this order.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"BM", "a picture (BMP)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"RIFF", "a sound, a film or a picture (RIFF)"),
    (b"OggS", "a sound or a film (Ogg)"),
    (b"ID3", "a sound (MP3)"),
    (b"fLaC", "a sound (FLAC)"),
    (b"\x1aE\xdf\xa3", "a film (Matroska)"),
    (b"\x1f\x8b", "an archive (gzip)"),
    (b"BZh", "an archive (bzip2)"),
    (b"\xfd7zXZ", "an archive (xz)"),
    (b"\x28\xb5\x2f\xfd", "an archive (zstd)"),
    (b"7z\xbc\xaf", "an archive (7z)"),
    (b"Rar!", "an archive (RAR)"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\0asm", "a program (WebAssembly)"),
    (b"SQLite format 3\0", "a database (SQLite)"),
    (b"GGUF", "a model (GGUF)"),
    (b"\xd0\xcf\x11\xe0", "an Office document of before 2007"),
    (b"{\\rtf", "a rich text (RTF)"),
];

/// The languages of extensions, as highlighters name them.
const LANGUAGES: &[(&str, &str)] = &[
    ("c h", "c"),
    ("cc cpp cxx hpp hh", "cpp"),
    ("cs", "csharp"),
    ("css", "css"),
    ("clj cljs", "clojure"),
    ("dart", "dart"),
    ("diff patch", "diff"),
    ("ex exs", "elixir"),
    ("elm", "elm"),
    ("erl", "erlang"),
    ("f90 f95 f", "fortran"),
    ("go", "go"),
    ("graphql", "graphql"),
    ("hs", "haskell"),
    ("html htm svg xml xhtml", "xml"),
    ("ini cfg conf properties", "ini"),
    ("java", "java"),
    ("js mjs cjs jsx", "javascript"),
    ("json jsonl ndjson ipynb", "json"),
    ("jl", "julia"),
    ("kt kts", "kotlin"),
    ("tex sty bib", "latex"),
    ("less", "less"),
    ("lisp el scm", "lisp"),
    ("lua", "lua"),
    ("makefile mk", "makefile"),
    ("m", "matlab"),
    ("ml mli", "ocaml"),
    ("nix", "nix"),
    ("php", "php"),
    ("pl pm", "perl"),
    ("proto", "protobuf"),
    ("ps1", "powershell"),
    ("py pyi", "python"),
    ("r", "r"),
    ("rb", "ruby"),
    ("rs", "rust"),
    ("scala", "scala"),
    ("scss", "scss"),
    ("sh bash zsh fish", "bash"),
    ("sql", "sql"),
    ("svelte vue", "xml"),
    ("swift", "swift"),
    ("toml", "toml"),
    ("ts mts cts tsx", "typescript"),
    ("dockerfile", "dockerfile"),
    ("v sv", "verilog"),
    ("vhd vhdl", "vhdl"),
    ("yaml yml", "yaml"),
    ("zig", "zig"),
];

/// The kind of a file. What it holds counts before its name: anyone can write any name.
///
/// # Errors
/// [`ExtractError::Empty`], and [`ExtractError::NotText`] for what is known to be something else.
pub fn of(name: &str, bytes: &[u8]) -> Result<Kind, ExtractError> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if head.is_empty() {
        return Err(ExtractError::Empty);
    }
    if is_pdf(head) {
        return Ok(Kind::Pdf);
    }
    if head.starts_with(b"PK\x03\x04") {
        // Whether it is a document stands in its list of parts.
        return match extension(name).as_deref() {
            Some("docx" | "docm" | "dotx") => Ok(Kind::Docx),
            Some("xlsx" | "pptx" | "odt" | "ods" | "odp" | "epub") => {
                Err(not_text("a document of a kind that is not read here; save it as PDF"))
            }
            _ => Err(not_text("an archive (ZIP)")),
        };
    }
    // A signature of letters alone is also how a text may begin.
    let signed = |(signature, _): &&(&[u8], &str)| {
        head.starts_with(signature) && (signature.len() > 3 || !looks_like_text(head))
    };
    if let Some((_, what)) = SIGNATURES.iter().find(signed) {
        return Err(not_text(what));
    }
    if !looks_like_text(head) {
        return Err(not_text("no text, but bytes of an unknown kind"));
    }
    Ok(match extension(name).as_deref() {
        Some("md" | "markdown" | "mdx" | "rst") => Kind::Markdown,
        Some("csv" | "tsv") => Kind::Csv,
        _ if language(name).is_some() => Kind::Code,
        _ => Kind::Text,
    })
}

/// The language of source code in a file of this name.
pub fn language(name: &str) -> Option<&'static str> {
    let extension = extension(name)?;
    let has = |(extensions, _): &&(&str, &str)| extensions.split(' ').any(|it| it == extension);
    LANGUAGES.iter().find(has).map(|(_, language)| *language)
}

/// What stands behind the last dot, or the whole name: `Makefile` has none.
fn extension(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next()?;
    Some(last.rsplit('.').next()?.to_ascii_lowercase())
}

/// Some programs write a line before the signature.
fn is_pdf(head: &[u8]) -> bool {
    head[..head.len().min(1024)].windows(5).any(|window| window == b"%PDF-")
}

/// No text has these; UTF-16, which is full of zeros, says so at its beginning.
fn looks_like_text(head: &[u8]) -> bool {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return true;
    }
    let odd = |byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127);
    let found = head.iter().filter(|byte| odd(byte)).count();
    !head.contains(&0) && found * 100 <= head.len()
}

fn not_text(what: &str) -> ExtractError {
    ExtractError::NotText { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_counts_before_its_name() {
        for (name, bytes, right) in [
            ("a.txt", &b"Hello"[..], Ok(Kind::Text)),
            ("a.txt", b"%PDF-1.7\n", Ok(Kind::Pdf)),
            ("README.md", b"# Hello", Ok(Kind::Markdown)),
            ("sums.csv", b"a,b\n1,2\n", Ok(Kind::Csv)),
            ("main.RS", b"fn main() {}", Ok(Kind::Code)),
            ("Makefile", b"all:\n", Ok(Kind::Code)),
            ("BMW.txt", b"BMW builds cars.", Ok(Kind::Text)),
            ("wide.txt", b"\xff\xfeH\0i\0", Ok(Kind::Text)),
            ("paper.docx", b"PK\x03\x04....", Ok(Kind::Docx)),
            ("a.txt", b"PK\x03\x04....", Err("an archive (ZIP)")),
            ("a.txt", b"\x89PNG\r\n\x1a\n", Err("a picture (PNG)")),
            ("a.txt", b"MZ\x90\0\x03\0\0\0", Err("a program")),
            ("a.rs", b"\x7fELF\x02", Err("a program")),
            ("a.txt", b"a\0b", Err("no text, but bytes of an unknown kind")),
        ] {
            let right = right.map_err(not_text);
            assert_eq!(of(name, bytes), right, "{name}");
        }
        assert_eq!(of("a.txt", b""), Err(ExtractError::Empty));
        assert_eq!(language("a/b.d/lib.rs"), Some("rust"));
        assert_eq!(language("notes"), None);
    }
}

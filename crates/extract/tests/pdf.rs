//! Turns PDFs that were made here, whole and broken, into text or a typed error, and nothing else.

mod common;

use common::{hostile, lines, of_pages, stream};
use myriad_extract::{ExtractError, Kind, extract};

fn read(bytes: &[u8]) -> Result<Vec<String>, ExtractError> {
    extract("paper.pdf", bytes.to_vec()).map(|text| {
        assert_eq!(text.kind, Kind::Pdf);
        text.pages
    })
}

#[test]
fn pages_are_read_in_order() {
    let first = lines(&["It was an unfor-", "gettable day \\(in May\\).", "\\223Caf\\351\\224"]);
    let columns = b"BT /F 10 Tf 50 700 Td (Left one) Tj 0 -12 Td (left two) Tj ET \
                    BT /F 10 Tf 320 700 Td (Right) Tj ET"
        .to_vec();
    let spaced = b"BT /F 10 Tf 50 700 Td [(Ke) 20 (rned) -400 (words)] TJ ET".to_vec();
    let pages = read(&of_pages(&[first, columns, spaced], &[], "")).unwrap();
    assert_eq!(pages[0], "It was an unforgettable day (in May).\n\u{201c}Café\u{201d}");
    assert_eq!(pages[1], "Left one\nleft two\nRight");
    assert_eq!(pages[2], "Kerned words");
}

#[test]
fn fonts_of_chinese_say_their_letters() {
    let unicode = "/CIDInit /ProcSet findresource begin begincmap\n\
         1 begincodespacerange <0000> <ffff> endcodespacerange\n\
         2 beginbfchar <0001> <6ce8> <0002> <610f> endbfchar\n\
         1 beginbfrange <0003> <0004> <529b> endbfrange\nendcmap end";
    let font = b"<< /Type /Font /Subtype /Type0 /BaseFont /Song /Encoding /Identity-H \
         /DescendantFonts [7 0 R] /ToUnicode 8 0 R >>"
        .to_vec();
    let descendant = b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Song /DW 1000 \
         /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
        .to_vec();
    let content = b"BT /G 12 Tf 50 700 Td <0001000200030004> Tj ET".to_vec();
    let more = [font, descendant, stream("", unicode.as_bytes())];
    let file = of_pages(&[content], &more, "/Font << /G 6 0 R >>");
    assert_eq!(read(&file).unwrap(), ["注意力劜"]);
}

#[test]
fn pictures_of_pages_are_told() {
    let picture = stream(
        "/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 \
         /ColorSpace /DeviceGray",
        b"\0",
    );
    let scan = b"q 600 0 0 800 0 0 cm /I Do Q".to_vec();
    let file = of_pages(&[scan.clone(), scan], &[picture], "/XObject << /I 8 0 R >>");
    assert_eq!(read(&file), Err(ExtractError::Pictures { pages: 2 }));
}

#[test]
fn hostile_files_end_in_typed_errors() {
    for (what, file) in hostile() {
        match (what, read(&file)) {
            ("a password", error) => assert_eq!(error, Err(ExtractError::Locked)),
            // What can be found of a broken file may be read.
            (_, Ok(pages)) => assert!(pages.concat().len() < 100, "{what}: {pages:?}"),
            (_, Err(_)) => {}
        }
    }
}

#[test]
fn a_file_that_ends_anywhere_breaks_nothing() {
    let file = of_pages(&[lines(&["Hello", "you"]), lines(&["there"])], &[], "");
    for length in 0..file.len() {
        let _ = extract("a.pdf", file[..length].to_vec());
        let mut changed = file.clone();
        changed[length] ^= 0x15;
        let _ = extract("a.pdf", changed);
    }
}

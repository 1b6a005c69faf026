//! Turns a document of Word (ECMA-376, WordprocessingML) into its text.

use std::io::{BufReader, Cursor, Read};

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use zip::ZipArchive;

use crate::ExtractError;
use crate::limits::{TEXT_BYTES_MAX, XML_BYTES_MAX};
use crate::plain::tidied;

/// Where the text stands; headers, notes and comments are other parts.
const PART: &str = "word/document.xml";

/// The text of a document: a line for each paragraph, tabs between the cells of a table.
///
/// # Errors
/// [`ExtractError::Damaged`], and [`ExtractError::Long`] for what gets too long unpacked.
pub fn text(bytes: &[u8]) -> Result<String, ExtractError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| damaged(&format!("its list of parts cannot be read ({error})")))?;
    let part = archive
        .by_name(PART)
        .map_err(|error| damaged(&format!("its part '{PART}' cannot be read ({error})")))?;
    // One more than allowed, so that the end tells the two apart.
    let mut reader = Reader::from_reader(BufReader::new(part.take(XML_BYTES_MAX + 1)));
    let mut document = Document::default();
    let mut buffer = Vec::new();
    loop {
        let event = reader.read_event_into(&mut buffer);
        if reader.buffer_position() > XML_BYTES_MAX || document.text.len() > TEXT_BYTES_MAX {
            return Err(ExtractError::Long { limit: TEXT_BYTES_MAX });
        }
        match event {
            Ok(Event::Eof) => return Ok(tidied(document.text.trim())),
            Ok(event) => document.take(&event)?,
            Err(error) => return Err(damaged(&format!("its XML is not well formed ({error})"))),
        }
        buffer.clear();
    }
}

/// The text so far.
#[derive(Default)]
struct Document {
    text: String,
    /// Whether what comes is text that a reader sees.
    shown: bool,
}

impl Document {
    fn take(&mut self, event: &Event<'_>) -> Result<(), ExtractError> {
        match event {
            Event::Start(start) => self.shown = start.local_name().as_ref() == "t",
            Event::Empty(empty) => match empty.local_name().as_ref() {
                "tab" => self.text.push('\t'),
                "br" | "cr" => self.text.push('\n'),
                _ => {}
            },
            Event::End(end) => {
                self.shown = false;
                match end.local_name().as_ref() {
                    "p" => self.text.push('\n'),
                    // A cell ends with a paragraph of its own.
                    "tc" if self.text.ends_with('\n') => {
                        self.text.pop();
                        self.text.push('\t');
                    }
                    "tr" => self.text.push('\n'),
                    _ => {}
                }
            }
            Event::Text(text) if self.shown => self.text.push_str(text),
            Event::GeneralRef(name) if self.shown => {
                // XML's own five and numbers; a document cannot define others for us.
                let letters = unescape(&format!("&{};", &**name))
                    .map_err(|_| damaged("it has a character that XML does not know"))?
                    .into_owned();
                self.text.push_str(&letters);
            }
            _ => {}
        }
        Ok(())
    }
}

fn damaged(what: &str) -> ExtractError {
    ExtractError::Damaged { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A document with this XML.
    fn document(xml: &[u8]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(PART, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(xml).unwrap();
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn paragraphs_tables_and_characters_are_read() {
        let xml = "<w:document xmlns:w=\"w\"><w:body><w:p><w:r><w:t>Tom &amp; J&#233;r&#x6f;me\
                   </w:t><w:tab/><w:t xml:space=\"preserve\"> 数据</w:t></w:r></w:p>\
                   <w:p><w:r><w:instrText>HYPERLINK</w:instrText><w:t>next</w:t><w:br/>\
                   <w:t>line</w:t></w:r></w:p>\
                   <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r>\
                   <w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:body></w:document>";
        let right = "Tom & Jérome\t 数据\nnext\nline\na\tb";
        assert_eq!(text(&document(xml.as_bytes())).unwrap(), right);
    }

    #[test]
    fn bombs_and_broken_documents_are_refused() {
        let zeros = vec![b' '; XML_BYTES_MAX as usize + 2];
        assert!(matches!(text(&document(&zeros)), Err(ExtractError::Long { .. })));
        let lol =
            "<!DOCTYPE d [<!ENTITY a \"aa\"><!ENTITY b \"&a;&a;\">]><w:p><w:t>&b;</w:t></w:p>";
        let whole = document(b"<w:p><w:t>Hello</w:t></w:p>");
        for bytes in [
            document(lol.as_bytes()),
            document(b"<w:p><w:t>\xff</w:t></w:p>"),
            document(b"<w:p></w:q>"),
            whole[..whole.len() / 2].to_vec(),
            b"PK\x03\x04".to_vec(),
        ] {
            assert!(matches!(text(&bytes), Err(ExtractError::Damaged { .. })));
        }
    }
}

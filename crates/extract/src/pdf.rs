//! Turns a PDF into the text of its pages.
//!
//! The file is interpreted as for drawing, by a reader in safe Rust, and nothing is drawn: what is
//! taken of it are letters and their places.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::BfString;
use hayro_interpret::hayro_syntax::page::Page as PdfPage;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps,
    InterpreterCache, InterpreterSettings, RenderContent, SoftMask, interpret_page,
};

use crate::ExtractError;
use crate::layout::{Letter, Page};
use crate::limits::{GLYPHS_MAX, PAGES_MAX, TEXT_BYTES_MAX};

/// Units of a font's own space in the size of its letters.
const UNITS_PER_EM: f64 = 1000.0;

/// The text of each page, in order.
///
/// # Errors
/// [`ExtractError`]: what about the file is not as it must be.
pub fn pages(bytes: Vec<u8>) -> Result<Vec<String>, ExtractError> {
    // The reader means to panic on no file; where it does, one file is not read.
    let read = catch_unwind(AssertUnwindSafe(|| read(bytes)));
    read.unwrap_or_else(|_| Err(damaged("it broke the reader of PDFs")))
}

fn read(bytes: Vec<u8>) -> Result<Vec<String>, ExtractError> {
    let pdf = Pdf::new(Arc::new(bytes)).map_err(|error| match error {
        LoadPdfError::Decryption(
            DecryptionError::PasswordProtected | DecryptionError::UnsupportedAlgorithm,
        ) => ExtractError::Locked,
        LoadPdfError::Decryption(_) => damaged("what it says of its encryption makes no sense"),
        LoadPdfError::Invalid => damaged("its objects cannot be found"),
    })?;
    let pages = pdf.pages();
    if pages.is_empty() {
        return Err(damaged("it has no pages"));
    }
    if pages.len() > PAGES_MAX {
        return Err(ExtractError::Pages { pages: pages.len(), limit: PAGES_MAX });
    }
    let cache = InterpreterCache::new();
    let (mut texts, mut bytes) = (Vec::with_capacity(pages.len()), 0);
    let (mut known, mut unknown) = (0, 0);
    for page in pages.iter() {
        let mut letters = Letters::default();
        interpret(page, &cache, &mut letters);
        (known, unknown) = (known + letters.known, unknown + letters.unknown);
        let text = letters.page.finish();
        bytes += text.len();
        if bytes > TEXT_BYTES_MAX {
            return Err(ExtractError::Long { limit: TEXT_BYTES_MAX });
        }
        texts.push(text);
    }
    // A few signs without a meaning are in many files, such as the dots of lists.
    if unknown > known {
        return Err(ExtractError::Letters);
    }
    if known == 0 {
        return Err(ExtractError::Pictures { pages: texts.len() });
    }
    Ok(texts)
}

fn interpret<'a>(page: &PdfPage<'a>, cache: &InterpreterCache<'a>, letters: &mut Letters) {
    let settings = InterpreterSettings {
        // Notes in the margin are not the text.
        render_content: RenderContent::PAGE,
        ..InterpreterSettings::default()
    };
    let (width, height) = page.render_dimensions();
    let bounds = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
    let mut context = Context::new(Affine::IDENTITY, bounds, cache, page.xref(), settings);
    interpret_page(page, &mut context, letters);
}

/// Takes letters, and nothing else that a page draws.
#[derive(Default)]
struct Letters {
    page: Page,
    known: usize,
    unknown: usize,
}

impl Letters {
    fn take(&mut self, glyph: &Glyph<'_>, transform: Affine) {
        let unicode = glyph.as_unicode();
        let width = match glyph {
            Glyph::Outline(outline) => outline.advance_width(),
            Glyph::Type3(drawn) => drawn.advance_width(),
        };
        let mut buffer = [0; 4];
        let text = match &unicode {
            Some(BfString::Char(character)) => character.encode_utf8(&mut buffer),
            Some(BfString::String(text)) => text.as_str(),
            None => {
                self.unknown += 1;
                return;
            }
        };
        self.known += usize::from(!text.trim().is_empty());
        let start = transform * Point::ORIGIN;
        let end =
            transform * Point::new(f64::from(width.unwrap_or(UNITS_PER_EM as f32 / 2.0)), 0.0);
        let size = transform.determinant().abs().sqrt() * UNITS_PER_EM;
        let letter = Letter { text, start: (start.x, start.y), end: (end.x, end.y), size };
        self.page.push(&letter);
    }
}

impl<'a> Device<'a> for Letters {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        for glyph in run.glyphs() {
            if self.known + self.unknown >= GLYPHS_MAX || self.page.bytes() > TEXT_BYTES_MAX {
                return;
            }
            self.take(glyph, props.transform * glyph.transform());
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_clip_rect(&mut self, _: &Rect) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}

fn damaged(what: &str) -> ExtractError {
    ExtractError::Damaged { what: what.to_owned() }
}

//! Turns contents of pages into PDFs, whole and broken ones, as bytes.

#![allow(dead_code)]

/// A PDF of these objects, numbered from 1; the first is the catalogue.
pub fn of_objects(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(file.len());
        file.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let start = file.len();
    file.extend_from_slice(
        format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).as_bytes(),
    );
    for place in &places {
        file.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let size = places.len() + 1;
    let trailer = format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    file.extend_from_slice(trailer.as_bytes());
    file
}

/// A stream with this dictionary.
pub fn stream(about: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("<< {about} /Length {} >>\nstream\n", content.len());
    [head.as_bytes(), content, b"\nendstream"].concat()
}

/// A PDF with one page for each content; `more` are objects behind those of the pages.
pub fn of_pages(contents: &[Vec<u8>], more: &[Vec<u8>], resources: &str) -> Vec<u8> {
    let first = 4;
    let kids: Vec<String> =
        (0..contents.len()).map(|page| format!("{} 0 R", first + 2 * page)).collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Count {} /Kids [{}] >>", kids.len(), kids.join(" ")).into_bytes(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
            .to_vec(),
    ];
    for (page, content) in contents.iter().enumerate() {
        let own = first + 2 * page + 1;
        let about = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {own} 0 R \
             /Resources << /Font << /F 3 0 R >> {resources} >> >>"
        );
        objects.push(about.into_bytes());
        objects.push(stream("", content));
    }
    objects.extend_from_slice(more);
    of_objects(&objects)
}

/// A page that shows these lines.
pub fn lines(lines: &[&str]) -> Vec<u8> {
    let mut content = String::from("BT /F 12 Tf 14 TL 50 750 Td\n");
    for line in lines {
        content.push_str(&format!("({line}) Tj T*\n"));
    }
    content.push_str("ET");
    content.into_bytes()
}

/// A page whose content unpacks to this many bytes times 64 for each of `filters` steps.
pub fn bomb(bytes: usize, filters: usize) -> Vec<u8> {
    // A run of 128 times the byte 0x81 is written 0x81 0x81: so a run of it unpacks to another.
    let filter = "/RunLengthDecode ".repeat(filters);
    let content = stream(&format!("/Filter [{filter}]"), &vec![0x81; bytes]);
    let objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>".to_vec(),
        content,
    ];
    of_objects(&objects)
}

/// PDFs that no honest program writes, by what is wrong with them.
pub fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let whole = of_pages(&[lines(&["Hello"])], &[], "");
    let catalog = b"<< /Type /Catalog /Pages 2 0 R >>".to_vec();
    let form = |content: &[u8]| {
        let about = "/Type /XObject /Subtype /Form /BBox [0 0 9 9] \
                     /Resources << /XObject << /X 6 0 R >> >>";
        stream(about, content)
    };
    let endless = "startxref\n9\n%%EOF";
    vec![
        ("nothing but a head", b"%PDF-1.7\n".to_vec()),
        ("no objects", b"%PDF-1.7\nxref\n0 0\ntrailer\n<< >>\nstartxref\n9\n%%EOF".to_vec()),
        ("half of it", whole[..whole.len() / 2].to_vec()),
        ("a table of places that names itself", {
            let text = "xref\n0 1\n0000000000 65535 f \ntrailer\n<< /Root 1 0 R /Prev 9 >>\n";
            format!("%PDF-1.7\n{text}{endless}").into_bytes()
        }),
        ("pages that are their own children", {
            let pages = b"<< /Type /Pages /Count 1 /Kids [2 0 R 2 0 R] >>".to_vec();
            of_objects(&[catalog.clone(), pages])
        }),
        ("a reference to itself", of_objects(&[b"1 0 R".to_vec(), b"2 0 R".to_vec()])),
        ("a picture that draws itself", {
            of_pages(&[b"/X Do".to_vec()], &[form(b"/X Do /X Do")], "/XObject << /X 6 0 R >>")
        }),
        ("arrays in arrays", {
            let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
            of_objects(&[catalog, deep.clone(), deep])
        }),
        ("states that are never left", of_pages(&[b"q ".repeat(200_000)], &[], "")),
        ("numbers beyond all numbers", {
            let content = b"BT /F 1e999 Tf 9e99 0 0 -9e99 1e38 1e38 Tm (a) Tj (b) Tj ET".to_vec();
            of_pages(&[content], &[], "")
        }),
        ("a password", {
            let mut file = of_pages(&[lines(&["Hello"])], &[], "");
            let at = file.windows(7).position(|it| it == b"trailer").unwrap() + 10;
            let lock = "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -44 \
                 /O <00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> \
                 /U <00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff> >> \
                 /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>] ";
            file.splice(at..at, lock.bytes());
            file
        }),
    ]
}

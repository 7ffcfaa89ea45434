//! Rows of text in aligned columns.

/// Lines of `rows` below `titles`. Columns whose title begins with a space are aligned to the right.
pub fn align(titles: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = titles
        .iter()
        .enumerate()
        .map(|(n, title)| {
            let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
            cells.chain([title.trim().chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(titles.iter().zip(&widths))
            .map(
                |(cell, (title, width))| {
                    if title.starts_with(' ') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(titles.iter().map(|title| title.trim()).collect());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["flüge".to_owned(), "7".to_owned()], vec!["a".to_owned(), "12345".to_owned()]];
        assert_eq!(align(&["table", " rows"], &rows), "table   rows\nflüge      7\na      12345\n");
    }
}

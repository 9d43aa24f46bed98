//! How records are printed: a table for people, or JSON, one object a line.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde_json::Value;

/// How to print records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON object a line
    Json,
}

/// A column: its title, and where its value is (a JSON pointer).
pub(super) type Column = (&'static str, &'static str);

/// Prints records.
pub(super) fn print(
    out: &mut dyn Write,
    format: Format,
    columns: &[Column],
    records: &[Value],
) -> io::Result<()> {
    if format == Format::Json {
        return records.iter().try_for_each(|record| writeln!(out, "{record}"));
    }
    if records.is_empty() {
        return writeln!(out, "None.");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for record in records {
        table.add_row(columns.iter().map(|(_, at)| text(record.pointer(at))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

/// Prints the fields of one record for people; what it does not have is left out.
pub(super) fn fields(out: &mut dyn Write, columns: &[Column], record: &Value) -> io::Result<()> {
    let width = columns.iter().map(|(title, _)| title.len()).max().unwrap_or(0) + 1;
    for (title, at) in columns {
        let value = text(record.pointer(at));
        if !value.is_empty() {
            writeln!(out, "{:width$} {value}", format!("{title}:"))?;
        }
    }
    Ok(())
}

/// A value as text for a terminal: objects by their ids, nothing that moves the cursor.
pub(super) fn text(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().map(|inner| text(Some(inner))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(object)) => match object.get("id") {
            Some(id) => text(Some(id)),
            None => serde_json::to_string(object).unwrap_or_default(),
        },
        Some(other) => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_and_its_json() {
        let records = [
            json!({"id": "a", "at": {"x": 1}, "of": [{"id": "p"}, {"id": "q"}]}),
            json!({"id": "b\u{1b}[2J"}),
        ];
        let shown = |format| {
            let mut out = Vec::new();
            print(&mut out, format, &[("id", "/id"), ("x", "/at/x"), ("of", "/of")], &records).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(Format::Table), "id     x  of\na      1  p, q\nb [2J\n");
        assert_eq!(shown(Format::Json), format!("{}\n{}\n", records[0], records[1]));
        let mut out = Vec::new();
        fields(&mut out, &[("id", "/id"), ("missing", "/no")], &records[0]).unwrap();
        assert_eq!(out, b"id:      a\n");
    }
}

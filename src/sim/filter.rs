//! `filter` and `order` of `event.offline.get` and `event.offline.list` (protocol reference section 2).

use std::{cmp::Ordering, fmt::Write as _, ops::Bound};

use super::{
    failure::Failure,
    php::Php,
    row::{Row, Zone},
};

/// A column that can be filtered or ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ID`
    Id,
    /// `TIMESTAMP_X`
    ChangedAt,
    /// `EVENT_NAME`
    Event,
    /// `MESSAGE_ID`
    Message,
    /// `PROCESS_ID`; only `list` knows it.
    Process,
    /// `ERROR`; only `list` knows it.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    More,
    Less,
    MoreOrEqual,
    LessOrEqual,
    Contains,
}

#[derive(Clone, Debug)]
enum Value {
    Number(i64),
    Text(String),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Filter(Vec<(Field, Op, Value)>);

/// Columns to sort by, each ascending or not.
#[derive(Clone, Debug)]
pub struct Order(pub Vec<(Field, bool)>);

fn field(name: &str, full: bool) -> Option<Field> {
    match name {
        "ID" => Some(Field::Id),
        "TIMESTAMP_X" => Some(Field::ChangedAt),
        "EVENT_NAME" => Some(Field::Event),
        "MESSAGE_ID" => Some(Field::Message),
        "PROCESS_ID" if full => Some(Field::Process),
        "ERROR" if full => Some(Field::Error),
        _ => None,
    }
}

impl Filter {
    /// Reads `filter`; `full` admits the columns that only `list` knows.
    pub fn parse(value: Option<&Php>, zone: &Zone, full: bool) -> Result<Self, Failure> {
        let mut conditions = Vec::new();
        for (key, value) in value.map(Php::entries).unwrap_or_default() {
            let (op, name) = operation(key);
            let field =
                field(name, full).ok_or_else(|| Failure::argument(format!("Field \"{name}\" cannot be filtered")))?;
            let text =
                value.text().ok_or_else(|| Failure::argument(format!("The filter \"{key}\" takes a single value")))?;
            let value = match field {
                _ if op == Op::Contains => Value::Text(text.to_owned()),
                Field::Id | Field::Error => Value::Number(value.int()),
                Field::ChangedAt => Value::Number(
                    zone.parse(text).ok_or_else(|| Failure::argument(format!("Wrong date in the filter \"{key}\"")))?,
                ),
                Field::Event | Field::Message | Field::Process => Value::Text(text.to_owned()),
            };
            conditions.push((field, op, value));
        }
        Ok(Self(conditions))
    }

    /// The same without its conditions on `MESSAGE_ID`.
    #[must_use]
    pub fn without_messages(mut self) -> Self {
        self.0.retain(|(field, ..)| *field != Field::Message);
        self
    }

    /// Whether a row passes.
    pub fn passes(&self, row: &Row) -> bool {
        self.0.iter().all(|(field, op, value)| {
            let order = match value {
                Value::Number(value) => number(row, *field).cmp(value),
                Value::Text(value) => {
                    let text = text(row, *field);
                    if *op == Op::Contains {
                        return text.to_lowercase().contains(&value.to_lowercase());
                    }
                    text.as_str().cmp(value)
                }
            };
            match op {
                Op::Equal | Op::Contains => order == Ordering::Equal,
                Op::More => order == Ordering::Greater,
                Op::Less => order == Ordering::Less,
                Op::MoreOrEqual => order != Ordering::Less,
                Op::LessOrEqual => order != Ordering::Greater,
            }
        })
    }

    /// Whether every row passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether only rows up to some id, or the row of one message, can pass, and only unchanged since some time.
    pub fn is_bounded(&self) -> bool {
        let has = |wanted: Field, ops: &[Op]| self.0.iter().any(|(field, op, _)| *field == wanted && ops.contains(op));
        let named = has(Field::Id, &[Op::LessOrEqual, Op::Less, Op::Equal]) || has(Field::Message, &[Op::Equal]);
        named && has(Field::ChangedAt, &[Op::Less])
    }

    /// Ids outside of this range cannot pass. The bounds are always fit for `BTreeMap::range`.
    pub fn ids(&self) -> (Bound<u64>, Bound<u64>) {
        let (mut low, mut high) = (0_u64, u64::MAX);
        for (field, op, value) in &self.0 {
            let (Field::Id, Value::Number(value)) = (field, value) else { continue };
            let value = u64::try_from(*value).unwrap_or(0);
            match op {
                Op::Equal => (low, high) = (low.max(value), high.min(value)),
                Op::More => low = low.max(value.saturating_add(1)),
                Op::MoreOrEqual => low = low.max(value),
                Op::Less => high = high.min(value.saturating_sub(1)),
                Op::LessOrEqual => high = high.min(value),
                Op::Contains => {}
            }
        }
        (Bound::Included(low), Bound::Included(high.max(low)))
    }

    /// Whether only reserved rows can pass, and if it is one reservation, which.
    pub fn reserved(&self) -> Option<Option<&str>> {
        self.0.iter().find_map(|(field, op, value)| match (field, op, value) {
            (Field::Process, Op::More, Value::Text(_)) => Some(None),
            (Field::Process, Op::Equal, Value::Text(process)) if !process.is_empty() => Some(Some(process.as_str())),
            _ => None,
        })
    }
}

/// Splits a filter key. `@` (one of) takes a single value here, so it is equality.
fn operation(key: &str) -> (Op, &str) {
    const OPS: [(&str, Op); 7] = [
        (">=", Op::MoreOrEqual),
        ("<=", Op::LessOrEqual),
        (">", Op::More),
        ("<", Op::Less),
        ("=", Op::Equal),
        ("@", Op::Equal),
        ("%", Op::Contains),
    ];
    OPS.iter().find_map(|(text, op)| key.strip_prefix(text).map(|name| (*op, name))).unwrap_or((Op::Equal, key))
}

impl Order {
    /// Reads `order`; `default` is used when there is none.
    pub fn parse(value: Option<&Php>, default: Field, full: bool) -> Result<Self, Failure> {
        let mut columns = Vec::new();
        for (name, direction) in value.map(Php::entries).unwrap_or_default() {
            let field =
                field(name, full).ok_or_else(|| Failure::argument(format!("Field \"{name}\" cannot be ordered by")))?;
            let direction = direction.text().unwrap_or_default().to_ascii_uppercase();
            match direction.as_str() {
                "ASC" => columns.push((field, true)),
                "DESC" => columns.push((field, false)),
                _ => return Err(Failure::argument(format!("Wrong order of field \"{name}\""))),
            }
        }
        Ok(if columns.is_empty() { Self(vec![(default, true)]) } else { Self(columns) })
    }

    /// Compares two rows; ties go by `ID`.
    pub fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let by = |field: Field| match field {
            Field::Id | Field::ChangedAt | Field::Error => number(a, field).cmp(&number(b, field)),
            _ => text(a, field).cmp(&text(b, field)),
        };
        let column = |&(field, up): &(Field, bool)| if up { by(field) } else { by(field).reverse() };
        self.0.iter().map(column).find(|o| *o != Ordering::Equal).unwrap_or_else(|| a.id.cmp(&b.id))
    }
}

fn number(row: &Row, field: Field) -> i64 {
    match field {
        Field::Id => i64::try_from(row.id).unwrap_or(i64::MAX),
        Field::ChangedAt => row.changed_at,
        Field::Error => i64::from(row.error),
        Field::Event | Field::Message | Field::Process => 0,
    }
}

fn text(row: &Row, field: Field) -> String {
    match field {
        Field::Event => row.event.to_string(),
        Field::Message => row.message.to_string(),
        Field::Process => row.process.map(|p| p.to_string()).unwrap_or_default(),
        Field::Id | Field::ChangedAt | Field::Error => {
            let mut out = String::new();
            let _ = write!(out, "{}", number(row, field));
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{php::parse_plain, row::Hex};

    fn row(id: u64, changed_at: i64, process: Option<Hex>) -> Row {
        Row {
            id,
            changed_at,
            message: Hex([1; 16]),
            event: "ONCRMDEALADD".into(),
            data: "false".into(),
            odd: false,
            user: None,
            process,
            error: false,
        }
    }

    fn passes(query: &str, row: &Row) -> bool {
        Filter::parse(Some(&parse_plain(query)), &Zone::new(0), true).expect(query).passes(row)
    }

    #[test]
    fn every_operation_compares() {
        let row = row(5, 60, None);
        for yes in [
            "ID=5",
            "=ID=5",
            ">ID=4",
            "<ID=6",
            ">%3DID=5",
            "<%3DID=5",
            "@ID=5",
            "%25EVENT_NAME=deal",
            "TIMESTAMP_X=1970-01-01T00:01:00Z",
            "=PROCESS_ID=",
            "=ERROR=0",
            "MESSAGE_ID=01010101010101010101010101010101",
        ] {
            assert!(passes(yes, &row), "{yes}");
        }
        for no in
            ["ID=4", ">ID=5", "<ID=5", ">%3DID=6", ">PROCESS_ID=", "=ERROR=1", "<TIMESTAMP_X=1970-01-01T00:01:00Z"]
        {
            assert!(!passes(no, &row), "{no}");
        }
        assert!(passes(">PROCESS_ID=", &self::row(5, 60, Some(Hex([0; 16])))));
    }

    #[test]
    fn what_get_cannot_filter_is_refused() {
        for (bad, full) in [
            ("!ID=5", true),
            ("PROCESS_ID=", false),
            ("ERROR=1", false),
            ("EVENT_DATA=1", true),
            ("ID[]=5", true),
            ("TIMESTAMP_X=soon", true),
        ] {
            let filter = Filter::parse(Some(&parse_plain(bad)), &Zone::new(0), full);
            assert_eq!(filter.expect_err(bad).code, "ERROR_ARGUMENT");
        }
    }

    #[test]
    fn ranges_of_ids_never_miss_a_row_and_never_panic() {
        for query in ["", ">ID=5", "<ID=5", ">ID=5&<ID=3", "=ID=0", "<ID=0", "=ID=-4", ">ID=9223372036854775807"] {
            let filter = Filter::parse(Some(&parse_plain(query)), &Zone::new(0), true).unwrap();
            let rows: std::collections::BTreeMap<_, _> = (0..10).map(|id| (id, row(id, 0, None))).collect();
            let ranged: Vec<_> = rows.range(filter.ids()).filter(|(_, r)| filter.passes(r)).collect();
            let ids = |some: Vec<(&u64, &Row)>| some.into_iter().map(|(id, _)| *id).collect::<Vec<u64>>();
            let all = rows.iter().filter(|(_, r)| filter.passes(r)).collect();
            assert_eq!(ids(ranged), ids(all), "{query}");
        }
    }

    #[test]
    fn order_is_by_all_columns_then_id() {
        let order = |q: &str| Order::parse(Some(&parse_plain(q)), Field::Id, false);
        assert_eq!(order("TIMESTAMP_X=DESC").unwrap().compare(&row(1, 5, None), &row(2, 6, None)), Ordering::Greater);
        assert_eq!(order("TIMESTAMP_X=asc").unwrap().compare(&row(1, 5, None), &row(2, 5, None)), Ordering::Less);
        assert_eq!(order("").unwrap().0, [(Field::Id, true)]);
        assert!(order("ID=up").is_err() && order("PROCESS_ID=ASC").is_err());
    }
}

//! Columns, and rows as they lie in the packet: cells are read in place, nothing is copied.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html>

use std::fmt;

use crate::error::Error;
use crate::wire::Bytes;

/// The type of a column, as the protocol numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types of SQL by their names")]
pub enum ColumnType {
    Decimal,
    TinyInt,
    SmallInt,
    Int,
    Float,
    Double,
    Null,
    Timestamp,
    BigInt,
    MediumInt,
    Date,
    Time,
    DateTime,
    Year,
    VarChar,
    Bit,
    Json,
    Enum,
    Set,
    TinyBlob,
    MediumBlob,
    LongBlob,
    Blob,
    VarString,
    Char,
    Geometry,
    Vector,
}

impl ColumnType {
    fn of(number: u8) -> Result<Self, Error> {
        Ok(match number {
            0 | 246 => Self::Decimal,
            1 => Self::TinyInt,
            2 => Self::SmallInt,
            3 => Self::Int,
            4 => Self::Float,
            5 => Self::Double,
            6 => Self::Null,
            7 | 17 => Self::Timestamp,
            8 => Self::BigInt,
            9 => Self::MediumInt,
            10 | 14 => Self::Date,
            11 | 19 => Self::Time,
            12 | 18 => Self::DateTime,
            13 => Self::Year,
            15 => Self::VarChar,
            16 => Self::Bit,
            242 => Self::Vector,
            245 => Self::Json,
            247 => Self::Enum,
            248 => Self::Set,
            249 => Self::TinyBlob,
            250 => Self::MediumBlob,
            251 => Self::LongBlob,
            252 => Self::Blob,
            253 => Self::VarString,
            254 => Self::Char,
            255 => Self::Geometry,
            other => {
                return Err(Error::protocol(format_args!(
                    "a column of the unknown type {other}"
                )));
            }
        })
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, or the alias it was given.
    pub name: String,
    /// The table it is of, if it is a column of one.
    pub table: String,
    /// Its type.
    pub kind: ColumnType,
    /// The number of the collation its text is sent in; 63 is `binary`.
    pub collation: u16,
    /// How many characters it is at most shown with.
    pub length: u32,
    /// Digits behind the point, also of seconds; 31 where they vary.
    pub decimals: u8,
    flags: u16,
}

impl Column {
    /// Whether its integers have no sign.
    pub fn is_unsigned(&self) -> bool {
        self.flags & 32 != 0
    }

    /// Whether it has no NULLs.
    pub fn is_not_null(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Bytes(payload);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        bytes.lenenc_bytes()?; // catalog, always "def"
        bytes.lenenc_bytes()?; // database
        let table = text(bytes.lenenc_bytes()?);
        bytes.lenenc_bytes()?; // table without its alias
        let name = text(bytes.lenenc_bytes()?);
        bytes.lenenc_bytes()?; // column without its alias
        let mut fixed = Bytes(bytes.lenenc_bytes()?);
        let collation = fixed.u16()?;
        let length = fixed.u32()?;
        let kind = ColumnType::of(fixed.u8()?)?;
        let flags = fixed.u16()?;
        Ok(Self {
            name,
            table,
            kind,
            collation,
            length,
            decimals: fixed.u8()?,
            flags,
        })
    }
}

/// A date and a time of day. May be zero in whole or in part, as SQL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the parts of a date by their names")]
pub struct DateTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the parts of a time by their names")]
pub struct Time {
    pub negative: bool,
    pub days: u32,
    pub hours: u8,
    pub minutes: u8,
    pub seconds: u8,
    pub micros: u32,
}

/// The value of one cell, in the packet that it came in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// There is none.
    Null,
    /// An integer with a sign; of prepared statements only, like all below but [`Cell::Bytes`].
    Int(i64),
    /// An integer without one.
    UInt(u64),
    /// A `FLOAT`, exactly.
    Float(f32),
    /// A `DOUBLE`, exactly.
    Double(f64),
    /// A date, with or without a time.
    DateTime(DateTime),
    /// A span of time.
    Time(Time),
    /// Anything else, decimals too: its bytes in the character set of the column. In rows that are
    /// text, everything.
    Bytes(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// The bytes, if it has them.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A row, as long as the next one is not read.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) columns: &'a [Column],
    pub(crate) binary: bool,
}

impl fmt::Debug for Row<'_> {
    /// Not what is in it: rows are other people's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("columns", &self.columns.len())
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Row<'a> {
    /// Its cells in the order of the columns. One that cannot be read ends them.
    pub fn cells(&self) -> Cells<'a> {
        Cells {
            columns: self.columns.iter().enumerate(),
            bytes: Bytes(self.payload),
            nulls: self.binary.then_some(&[]),
            count: self.columns.len(),
        }
    }

    /// The columns.
    pub fn columns(&self) -> &'a [Column] {
        self.columns
    }

    /// The size in bytes of the row as it was sent.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// The cells of a row that is text, copied: `None` is NULL.
    pub fn to_texts(&self) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.cells()
            .map(|cell| cell.map(|cell| cell.bytes().map(<[u8]>::to_vec)))
            .collect()
    }
}

/// The cells of a row.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    columns: std::iter::Enumerate<std::slice::Iter<'a, Column>>,
    bytes: Bytes<'a>,
    /// Of a binary row: which cells are NULL; empty before they were read.
    nulls: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Cells<'a> {
    fn read(&mut self, at: usize, column: &Column) -> Result<Cell<'a>, Error> {
        let Some(mut nulls) = self.nulls else {
            let cell = self.bytes.lenenc_or_null()?;
            return Ok(cell.map_or(Cell::Null, Cell::Bytes));
        };
        if nulls.is_empty() {
            // A zero, and a bit for each column, the first two of which mean nothing.
            self.bytes.take(1)?;
            nulls = self.bytes.take((self.count + 9) / 8)?;
            self.nulls = Some(nulls);
        }
        let bit = at + 2;
        if nulls
            .get(bit / 8)
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
        {
            return Ok(Cell::Null);
        }
        binary_cell(&mut self.bytes, column.kind, column.is_unsigned())
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (at, column) = self.columns.next()?;
        let read = self.read(at, column).and_then(|cell| {
            if at + 1 == self.count && !self.bytes.is_empty() {
                return Err(Error::protocol("a row is longer than its cells"));
            }
            Ok(cell)
        });
        if read.is_err() {
            self.columns = [].iter().enumerate();
        }
        Some(read)
    }
}

fn binary_cell<'a>(
    bytes: &mut Bytes<'a>,
    kind: ColumnType,
    unsigned: bool,
) -> Result<Cell<'a>, Error> {
    use ColumnType as Type;
    Ok(match kind {
        Type::TinyInt => match (bytes.u8()?, unsigned) {
            (value, true) => Cell::UInt(value.into()),
            (value, false) => Cell::Int(value.cast_signed().into()),
        },
        Type::SmallInt | Type::Year => match (bytes.u16()?, unsigned) {
            (value, true) => Cell::UInt(value.into()),
            (value, false) => Cell::Int(value.cast_signed().into()),
        },
        Type::Int | Type::MediumInt => match (bytes.u32()?, unsigned) {
            (value, true) => Cell::UInt(value.into()),
            (value, false) => Cell::Int(value.cast_signed().into()),
        },
        Type::BigInt => match (bytes.u64()?, unsigned) {
            (value, true) => Cell::UInt(value),
            (value, false) => Cell::Int(value.cast_signed()),
        },
        Type::Float => Cell::Float(f32::from_bits(bytes.u32()?)),
        Type::Double => Cell::Double(f64::from_bits(bytes.u64()?)),
        Type::Date | Type::DateTime | Type::Timestamp => Cell::DateTime(date_time(bytes)?),
        Type::Time => Cell::Time(time(bytes)?),
        Type::Null => Cell::Null,
        _ => Cell::Bytes(bytes.lenenc_bytes()?),
    })
}

fn date_time(bytes: &mut Bytes<'_>) -> Result<DateTime, Error> {
    let length = bytes.u8()?;
    let mut value = DateTime::default();
    if ![0, 4, 7, 11].contains(&length) {
        return Err(Error::protocol(format_args!("a date of {length} bytes")));
    }
    if length >= 4 {
        value.year = bytes.u16()?;
        value.month = bytes.u8()?;
        value.day = bytes.u8()?;
    }
    if length >= 7 {
        value.hour = bytes.u8()?;
        value.minute = bytes.u8()?;
        value.second = bytes.u8()?;
    }
    if length >= 11 {
        value.micros = bytes.u32()?;
    }
    Ok(value)
}

fn time(bytes: &mut Bytes<'_>) -> Result<Time, Error> {
    let length = bytes.u8()?;
    let mut value = Time::default();
    if ![0, 8, 12].contains(&length) {
        return Err(Error::protocol(format_args!("a time of {length} bytes")));
    }
    if length >= 8 {
        value.negative = bytes.u8()? != 0;
        value.days = bytes.u32()?;
        value.hours = bytes.u8()?;
        value.minutes = bytes.u8()?;
        value.seconds = bytes.u8()?;
    }
    if length >= 12 {
        value.micros = bytes.u32()?;
    }
    Ok(value)
}

/// A value for a `?` of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    /// NULL
    Null,
    /// An integer with a sign.
    Int(i64),
    /// An integer without one.
    UInt(u64),
    /// A floating-point number.
    Double(f64),
    /// Text in UTF-8.
    Text(&'a str),
    /// Bytes of no character set.
    Bytes(&'a [u8]),
}

impl Param<'_> {
    /// The number of its type, and whether it has no sign.
    pub(crate) fn kind(&self) -> [u8; 2] {
        match self {
            Self::Null => [6, 0],
            Self::Int(_) => [8, 0],
            Self::UInt(_) => [8, 0x80],
            Self::Double(_) => [5, 0],
            Self::Text(_) => [253, 0],
            Self::Bytes(_) => [252, 0],
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Int(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::UInt(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Text(value) => crate::wire::put_lenenc_bytes(out, value.as_bytes()),
            Self::Bytes(value) => crate::wire::put_lenenc_bytes(out, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(kind: ColumnType, flags: u16) -> Column {
        Column {
            name: String::new(),
            table: String::new(),
            kind,
            collation: 63,
            length: 0,
            decimals: 0,
            flags,
        }
    }

    #[test]
    fn cells_of_binary_rows_are_read() {
        use ColumnType as Type;
        let date = DateTime {
            year: 2026,
            month: 11,
            day: 26,
            hour: 1,
            minute: 2,
            second: 3,
            micros: 4,
        };
        let span = Time {
            negative: true,
            days: 34,
            hours: 22,
            minutes: 59,
            seconds: 58,
            micros: 5,
        };
        for (kind, flags, bytes, cell) in [
            (Type::TinyInt, 0, &[0xff][..], Cell::Int(-1)),
            (Type::TinyInt, 32, &[0xff], Cell::UInt(255)),
            (Type::SmallInt, 0, &[0, 0x80], Cell::Int(-32768)),
            (Type::Year, 32, &[0xea, 7], Cell::UInt(2026)),
            (Type::MediumInt, 0, &[0xff, 0xff, 0xff, 0xff], Cell::Int(-1)),
            (
                Type::Int,
                32,
                &[0xff, 0xff, 0xff, 0xff],
                Cell::UInt(u32::MAX.into()),
            ),
            (Type::BigInt, 0, &[0xff; 8], Cell::Int(-1)),
            (Type::BigInt, 32, &[0xff; 8], Cell::UInt(u64::MAX)),
            (Type::Float, 0, &[0, 0, 0x80, 0x3f], Cell::Float(1.0)),
            (
                Type::Double,
                0,
                &[0, 0, 0, 0, 0, 0, 0xf0, 0xbf],
                Cell::Double(-1.0),
            ),
            (Type::Decimal, 0, b"\x04-1.5", Cell::Bytes(b"-1.5")),
            (Type::Bit, 32, &[2, 1, 0], Cell::Bytes(&[1, 0])),
            (Type::Date, 0, &[0], Cell::DateTime(DateTime::default())),
            (
                Type::Date,
                0,
                &[4, 0xea, 7, 11, 26],
                Cell::DateTime(DateTime {
                    hour: 0,
                    minute: 0,
                    second: 0,
                    micros: 0,
                    ..date
                }),
            ),
            (
                Type::DateTime,
                0,
                &[11, 0xea, 7, 11, 26, 1, 2, 3, 4, 0, 0, 0],
                Cell::DateTime(date),
            ),
            (Type::Time, 0, &[0], Cell::Time(Time::default())),
            (
                Type::Time,
                0,
                &[12, 1, 34, 0, 0, 0, 22, 59, 58, 5, 0, 0, 0],
                Cell::Time(span),
            ),
            (Type::Geometry, 0, b"\x02ab", Cell::Bytes(b"ab")),
        ] {
            let columns = [column(kind, flags)];
            let payload = [&[0, 0], bytes].concat();
            let row = Row {
                payload: &payload,
                columns: &columns,
                binary: true,
            };
            let cells: Vec<_> = row.cells().map(Result::unwrap).collect();
            assert_eq!(cells, [cell], "{kind:?}");
            let null = Row {
                payload: &[0, 4],
                ..row
            };
            assert_eq!(null.cells().next().unwrap().unwrap(), Cell::Null);
            let longer = [&payload[..], &[0]].concat();
            let row = Row {
                payload: &longer,
                ..row
            };
            assert!(row.cells().any(|cell| cell.is_err()), "{kind:?}");
            for cut in 1..payload.len() {
                let row = Row {
                    payload: &payload[..cut],
                    ..row
                };
                assert!(row.cells().any(|cell| cell.is_err()), "{kind:?} {cut}");
            }
        }
    }

    #[test]
    fn cells_of_text_rows_are_read_where_they_are() {
        let columns = [
            column(ColumnType::Int, 0),
            column(ColumnType::Blob, 0),
            column(ColumnType::Blob, 0),
        ];
        let payload = b"\x0242\xfb\x00";
        let row = Row {
            payload,
            columns: &columns,
            binary: false,
        };
        let cells: Vec<_> = row.cells().map(Result::unwrap).collect();
        assert_eq!(cells, [Cell::Bytes(b"42"), Cell::Null, Cell::Bytes(b"")]);
        assert_eq!(cells[0].bytes().unwrap().as_ptr(), payload[1..].as_ptr());
        assert_eq!(row.to_texts().unwrap()[0].as_deref(), Some(&b"42"[..]));
    }

    #[test]
    fn unknown_types_are_refused() {
        for number in 0..=255u8 {
            let known = matches!(number, 0..=19 | 242 | 245..=255);
            assert_eq!(ColumnType::of(number).is_ok(), known, "{number}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_a_panic(
            payload: Vec<u8>,
            kinds in proptest::collection::vec((0u8..=19, any::<u16>()), 0..20),
            binary: bool,
        ) {
            let _ = Column::parse(&payload);
            let columns: Vec<Column> = kinds
                .iter()
                .map(|(number, flags)| column(ColumnType::of(*number).unwrap(), *flags))
                .collect();
            let row = Row { payload: &payload, columns: &columns, binary };
            let cells: Vec<_> = row.cells().collect();
            prop_assert!(cells.len() <= columns.len());
            let _ = format!("{row:?}");
        }
    }
}

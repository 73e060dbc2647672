//! Which server it is.

use std::fmt;

/// Whose server it is. They speak one protocol and differ in much of what they say in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `MariaDB`
    MariaDb,
    /// `MySQL`, and what is built from its source, such as Percona's.
    MySql,
}

/// What a server says it is, but for the `5.5.5-` that some `MariaDB`s begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Whose it is.
    pub flavour: Flavour,
    /// Major, minor and patch number; 0 where there is none.
    pub number: (u16, u16, u16),
    /// The server's own words, without that.
    pub text: String,
}

impl Version {
    /// Reads the text of a greeting or of `SELECT VERSION()`.
    ///
    /// `MariaDB` 10 puts `5.5.5-` in front in its greeting, because old replicas of `MySQL` looked at
    /// the first digit only.
    pub fn parse(text: &str) -> Self {
        let flavour = if text.to_ascii_lowercase().contains("mariadb") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        let digits = match flavour {
            Flavour::MariaDb => text.strip_prefix("5.5.5-").unwrap_or(text),
            Flavour::MySql => text,
        };
        let mut numbers = digits
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            flavour,
            number: (next(), next(), next()),
            text: digits.to_owned(),
        }
    }

    /// Whether it is a `MariaDB` of this version or a later one.
    pub fn is_mariadb(&self, major: u16, minor: u16) -> bool {
        self.flavour == Flavour::MariaDb && self.number >= (major, minor, 0)
    }

    /// Whether it is a `MySQL` of this version or a later one.
    pub fn is_mysql(&self, major: u16, minor: u16) -> bool {
        self.flavour == Flavour::MySql && self.number >= (major, minor, 0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        let name = match self.flavour {
            Flavour::MariaDb => "MariaDB",
            Flavour::MySql => "MySQL",
        };
        write!(f, "{name} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_apart() {
        for (text, shown) in [
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", "MariaDB 10.11.19"),
            ("11.8.3-MariaDB-log", "MariaDB 11.8.3"),
            ("8.0.42", "MySQL 8.0.42"),
            ("8.4.5-5 Percona", "MySQL 8.4.5"),
            ("9.7.4-Debian", "MySQL 9.7.4"),
            ("5.5.5", "MySQL 5.5.5"),
            ("unknown", "MySQL 0.0.0"),
            ("99999999.1", "MySQL 0.1.0"),
        ] {
            assert_eq!(Version::parse(text).to_string(), shown, "{text}");
        }
        let version = Version::parse("5.5.5-10.11.19-MariaDB");
        assert!(
            version.is_mariadb(10, 11) && !version.is_mariadb(11, 0) && !version.is_mysql(5, 0)
        );
    }
}

//! What PostgreSQL's errors mean to us, by their SQLSTATE. Read <https://www.postgresql.org/docs/15/errcodes-appendix.html>.

use tokio_postgres::error::SqlState;

use super::address;
use crate::ledger::LedgerError;
use crate::tls::trust::explain;

impl From<tokio_postgres::Error> for LedgerError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = match error.as_db_error() {
            Some(db) => format!("{} ({})", db.message(), db.code().code()),
            None => {
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
            }
        };
        let text = explain(&text, address::LEDGER.ca);
        let error = match error.code() {
            Some(code) => sort(code)(text),
            None => Self::Unavailable(text),
        };
        error.counted()
    }
}

/// What an error means, by its SQLSTATE: it may be otherwise in a moment, the value is none that can be stored, or we are refused.
fn sort(code: &SqlState) -> fn(String) -> LedgerError {
    match code {
        code if may_pass(code) => LedgerError::Unavailable,
        code if is_the_values(code) => LedgerError::Unstorable,
        _ => LedgerError::Refused,
    }
}

/// Whether it lies in the value itself. By class: 22 data exception (a NUL, no JSON, out of range), 54 program limit (too large, too
/// deep). Of 23 (integrity) no output can be the cause: no constraint of ours looks into one.
fn is_the_values(code: &SqlState) -> bool {
    ["22", "54"].contains(&&code.code()[..2])
}

/// Whether what the server says may be otherwise in a moment: it starts, stops, fails over (read-only), is out of room, or
/// chose us as a deadlock's victim. By SQLSTATE class: 08 connection, 40 rollback, 53 resources, 55 lock, 57 operator, 58 I/O.
fn may_pass(code: &SqlState) -> bool {
    let passing = ["08", "40", "53", "55", "57", "58"];
    passing.contains(&&code.code()[..2]) || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(code: &str) -> LedgerError {
        sort(&SqlState::from_code(code))(String::new())
    }

    #[test]
    fn only_what_lies_in_the_value_is_the_values_fault() {
        for of_the_value in ["22021", "22P02", "22P05", "22003", "54000", "54001"] {
            assert!(matches!(sorted(of_the_value), LedgerError::Unstorable(_)), "{of_the_value}");
        }
        // A right that was revoked, a table that is gone, a column that is not there yet, a password, a constraint.
        for of_us in ["42501", "42P01", "42703", "28P01", "28000", "23505", "3D000", "0A000", "XX000"] {
            assert!(matches!(sorted(of_us), LedgerError::Refused(_)), "{of_us}");
        }
        for passing in ["08006", "40P01", "53100", "55P03", "57P01", "57014", "58030", "25006"] {
            assert!(matches!(sorted(passing), LedgerError::Unavailable(_)), "{passing}");
        }
    }
}

//! Reading query parameters.
//!
//! Invariant: a parameter that no handler takes, and a second value for one name, are refused by name: a misspelt filter
//! must not answer with everything.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use domain::FieldError;

use super::problem::Problem;
use crate::app::BoundingBox;
pub use crate::app::LIST_LIMIT_MAX;

/// The query parameters of one request, taken one by one; what is left over is refused by name.
#[derive(Debug)]
pub struct QueryParameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::unreadable("the query string cannot be read"))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid_parameter(name, "is given twice"));
            }
        }
        Ok(QueryParameters(pairs))
    }
}

impl QueryParameters {
    /// Takes a parameter as it is; an empty value is one that is not given.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    /// Takes `limit`, 1..=`max`.
    pub fn limit(&mut self, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text("limit") else {
            return Ok(None);
        };
        match text.parse::<u32>() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(Some(limit)),
            _ => Err(Problem::invalid_parameter(
                "limit",
                format!("expected a whole number from 1 to {max}"),
            )),
        }
    }

    /// Takes a moment in RFC 3339 as milliseconds since 1970 UTC.
    pub fn time_ms(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        // A client that forgot to encode the plus of an offset sends a space there.
        let text = text.replace(' ', "+");
        text.parse::<jiff::Timestamp>()
            .map(|at| Some(at.as_millisecond()))
            .map_err(|_| {
                Problem::invalid_parameter(
                    name,
                    "expected a time such as 2026-05-04T12:30:00Z (RFC 3339)",
                )
            })
    }

    /// Takes `at`, a moment that a node can have been running at.
    pub fn at_wall_ms(&mut self) -> Result<Option<u64>, Problem> {
        let at_ms = self.time_ms("at")?;
        at_ms
            .map(|ms| {
                u64::try_from(ms)
                    .map_err(|_| Problem::invalid_parameter("at", "expected a time after 1970"))
            })
            .transpose()
    }

    /// Takes `bbox=minlon,minlat,maxlon,maxlat` in degrees; minlon > maxlon crosses the antimeridian.
    pub fn bounding_box(&mut self) -> Result<Option<BoundingBox>, Problem> {
        let Some(text) = self.text("bbox") else {
            return Ok(None);
        };
        let wrong = |detail: &str| Problem::invalid_parameter("bbox", detail);
        let edges: Vec<f64> = text
            .split(',')
            .filter_map(|part| part.trim().parse().ok())
            .collect();
        let [min_lon, min_lat, max_lon, max_lat] = edges[..] else {
            return Err(wrong("expected four numbers: minlon,minlat,maxlon,maxlat"));
        };
        if text.split(',').count() != 4 {
            return Err(wrong("expected four numbers: minlon,minlat,maxlon,maxlat"));
        }
        if !(-180.0..=180.0).contains(&min_lon) || !(-180.0..=180.0).contains(&max_lon) {
            return Err(wrong("a longitude lies between -180 and 180"));
        }
        if !(-90.0..=90.0).contains(&min_lat)
            || !(-90.0..=90.0).contains(&max_lat)
            || min_lat > max_lat
        {
            return Err(wrong(
                "latitudes lie between -90 and 90, the southern one first",
            ));
        }
        Ok(Some(BoundingBox {
            min_lon,
            min_lat,
            max_lon,
            max_lat,
        }))
    }

    /// Takes `include=deleted`.
    pub fn include_deleted(&mut self) -> Result<bool, Problem> {
        match self.text("include").as_deref() {
            None => Ok(false),
            Some("deleted") => Ok(true),
            Some(_) => Err(Problem::invalid_parameter(
                "include",
                "the only value is: deleted",
            )),
        }
    }

    /// Refuses what nobody took, with what would have been understood.
    pub fn finish(self, known: &[&str]) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let detail = match known {
            [] => "unknown parameter: this path takes none".to_owned(),
            known => format!("unknown parameter; known here: {}", known.join(", ")),
        };
        Err(Problem::invalid(
            self.0
                .into_iter()
                .map(|(name, _)| FieldError {
                    pointer: format!("/{name}"),
                    detail: detail.clone(),
                })
                .collect(),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_box_over_the_antimeridian_is_taken_and_a_crooked_one_is_not() {
        let parse = |text: &str| QueryParameters(vec![("bbox".into(), text.into())]).bounding_box();
        assert_eq!(parse("170,-20,-170,20").unwrap().unwrap().max_lon, -170.0);
        for wrong in [
            "1,2,3",
            "1,2,3,4,5",
            "1,x,3,4",
            "0,50,10,40",
            "-181,0,0,1",
            "0,0,0,NaN",
            "0,0,inf,1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named_with_what_is_known() {
        let left = QueryParameters(vec![("limt".into(), "5".into())]);
        let problem = format!("{:?}", left.finish(&["limit"]).unwrap_err());
        assert!(
            problem.contains("/limt") && problem.contains("limit"),
            "{problem}"
        );
    }

    #[test]
    fn a_time_with_an_offset_is_read_and_its_unencoded_plus_forgiven() {
        let parse = |text: &str| QueryParameters(vec![("at".into(), text.into())]).at_wall_ms();
        assert_eq!(parse("1970-01-01T01:00:01 01:00").unwrap(), Some(1_000));
        assert!(parse("yesterday").is_err());
        assert!(parse("1960-01-01T00:00:00Z").is_err());
    }
}

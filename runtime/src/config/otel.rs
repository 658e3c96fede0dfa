//! OpenTelemetry's own variables as settings of `traces`, so that a platform that sets them for all its programs need not know
//! ours. Pure. It refuses nothing: they are set for others too, and what we do not know is theirs. `OTEL_EXPORTER_OTLP_HEADERS` and
//! `OTEL_RESOURCE_ATTRIBUTES` are not here, for the exporter reads them itself. Read [`super::environment`] for our own.

use toml::Value;

use super::layers::Given;

const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What they say, lowest first.
pub(super) fn given(variables: &[(String, String)]) -> Vec<Given> {
    let variable = |name: &str| {
        let set = variables.iter().rev().find(|(set, _)| set == name);
        // The standard takes an empty one for one that is not set.
        set.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER") == Some("none");
    let said = |key, value: Value, name| Given::by_variable(key, value, name);
    let base = variable(BASE).map(|url| format!("{}/v1/traces", url.trim_end_matches('/')));
    let endpoints = [
        base.map(|url| said("traces.endpoint", url.into(), BASE)),
        variable(TRACES).map(|url| said("traces.endpoint", url.into(), TRACES)),
    ];
    let service = variable(SERVICE).map(|name| said("traces.service_name", name.into(), SERVICE));
    let sampler = variable(SAMPLER).map(|name| sampler(name, variable(SAMPLER_ARG))).unwrap_or_default();
    endpoints.into_iter().flatten().filter(|_| !off).chain(service).chain(sampler).collect()
}

/// A sampler of the standard, with its argument. One that we have not leaves ours as it is.
fn sampler(name: &str, argument: Option<&str>) -> Vec<Given> {
    let (parent_based, root) = name.strip_prefix("parentbased_").map_or((false, name), |root| (true, root));
    let (ratio, from) = match root {
        "always_on" => (Value::Float(1.0), SAMPLER),
        "always_off" => (Value::Float(0.0), SAMPLER),
        "traceidratio" => (argument.map_or(Value::Float(1.0), ratio), SAMPLER_ARG),
        _ => return vec![],
    };
    vec![
        Given::by_variable("traces.parent_based", Value::Boolean(parent_based), SAMPLER),
        Given::by_variable("traces.sample_ratio", ratio, from),
    ]
}

/// What is no number stays a text, and is refused as such.
fn ratio(text: &str) -> Value {
    text.parse().map_or_else(|_| text.into(), Value::Float)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Mistakes, Sources};
    use crate::traces::TraceSettings;

    fn load(pairs: &[(&str, &str)]) -> Result<TraceSettings, Mistakes> {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&Sources { environment, ..Sources::default() }).map(|config| config.traces)
    }

    fn endpoint(pairs: &[(&str, &str)]) -> String {
        load(pairs).unwrap().endpoint
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example.org/in");

    #[test]
    fn nobody_traces_unless_somebody_says_where_to() {
        assert_eq!(load(&[]).unwrap(), TraceSettings::default());
        assert_eq!((endpoint(&[]), endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")])), (String::new(), String::new()));
    }

    #[test]
    fn the_address_for_traces_wins_over_the_one_for_all_and_ours_over_both() {
        assert_eq!(endpoint(&[BASE]), "http://collector:4318/v1/traces");
        assert_eq!(endpoint(&[TRACES, BASE]), "https://traces.example.org/in");
        let ours = ("LONGSHORE_TRACES_ENDPOINT", "http://ours:4318/v1/traces");
        assert_eq!(endpoint(&[ours, TRACES, BASE]), "http://ours:4318/v1/traces");
    }

    #[test]
    fn a_platform_can_turn_its_own_address_off() {
        for off in [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint(&[BASE, TRACES, off]), "");
            let ours = ("LONGSHORE_TRACES_ENDPOINT", "http://ours:4318/v1/traces");
            assert_eq!(endpoint(&[BASE, off, ours]), "http://ours:4318/v1/traces");
        }
    }

    #[test]
    fn the_standards_samplers_are_a_ratio_and_whether_a_parent_counts() {
        let sampled = |name: &str, argument: &str| {
            let settings = load(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]).unwrap();
            (settings.parent_based, settings.sample_ratio)
        };
        assert_eq!(sampled("always_on", ""), (false, 1.0));
        assert_eq!(sampled("always_off", ""), (false, 0.0));
        assert_eq!(sampled("traceidratio", "0.25"), (false, 0.25));
        assert_eq!(sampled("parentbased_traceidratio", "0.25"), (true, 0.25));
        assert_eq!(sampled("parentbased_always_off", ""), (true, 0.0));
        assert_eq!(sampled("jaeger_remote", "endpoint=x"), (true, 1.0), "another program's");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_the_variables_name() {
        let told = |pairs: &[(&str, &str)]| load(pairs).unwrap_err().0;
        let ratio = told(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")]);
        assert_eq!(ratio, ["OTEL_TRACES_SAMPLER_ARG: must be from 0 to 1"]);
        let address = told(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318")]);
        assert!(address.len() == 1 && address[0].starts_with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "), "{address:?}");
    }
}

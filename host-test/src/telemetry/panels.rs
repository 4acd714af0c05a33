//! What is on the dashboard, from the question asked first to the one asked last.
//!
//! `@` in an expression stands for what the reader has selected: see [`super::SELECTION`]. A counter whose outcome is rare is born with its
//! first event, which `rate` and `increase` do not see: such ones are shown as they stand.

/// Panels that are about the same thing.
#[derive(Debug)]
pub struct Row {
    /// What that is.
    pub title: &'static str,
    /// From left to right.
    pub panels: &'static [Panel],
}

/// One of them.
#[derive(Debug)]
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// What to read out of it.
    pub about: &'static str,
    /// How it is drawn.
    pub view: View,
    /// Of its values, as Grafana calls it.
    pub unit: &'static str,
    /// Expressions, and how their series are called.
    pub queries: &'static [(&'static str, &'static str)],
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View {
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other: their sum means something.
    Stacked,
    /// Numbers: green below the first bound, yellow below the second, red from there.
    Numbers(Option<(f64, f64)>),
    /// A table of labels.
    Table,
}

/// A number that should be 0, and is somebody's task otherwise.
const TASK: View = View::Numbers(Some((0.5, f64::INFINITY)));
/// A number that should be 0, and is somebody's night otherwise.
const ALARM: View = View::Numbers(Some((0.01, 0.01)));

/// All rows.
pub const ROWS: [Row; 6] = [
    Row { title: "Is it guarded?", panels: &GUARDED },
    Row { title: "Decisions", panels: &DECISIONS },
    Row { title: "Elevation and the token service", panels: &ELEVATION },
    Row { title: "Keys", panels: &KEYS },
    Row { title: "What should not happen", panels: &FAULTS },
    Row { title: "What is in force", panels: &IN_FORCE },
];

const GUARDED: [Panel; 8] = [
    Panel {
        title: "Envoys with a policy",
        about: "Envoys in which the filter runs with a policy in force. Whether it stands in front of every route is for `stepup guard`.",
        view: View::Numbers(None),
        unit: "none",
        queries: &[("count(max by (job, instance) (stepup_info{@}) == 1) or vector(0)", "")],
    },
    Panel {
        title: "Envoys without one",
        about: "They ask for the filter's configuration and have none: every request is 403.",
        view: ALARM,
        unit: "none",
        queries: &[(
            "count(count by (job, instance) (envoy_extension_config_discovery_http_filter_step_up_update_success{@}) \
             unless on (job, instance) max by (job, instance) (stepup_info{@}) == 1) or vector(0)",
            "",
        )],
    },
    Panel {
        title: "Refused by the lock, last hour",
        about: "RBAC of these listeners refused: the filter is missing, switched off for a route, or has no policy.",
        view: ALARM,
        unit: "none",
        queries: &[("sum(increase(envoy_http_rbac_denied{@}[1h]))", "")],
    },
    Panel {
        title: "Policies refused, last hour",
        about: "The policy before is in force. Envoy's log names each fault of the new one.",
        view: TASK,
        unit: "none",
        queries: &[("sum(increase(envoy_extension_config_discovery_http_filter_step_up_config_fail{@}[1h]))", "")],
    },
    Panel {
        title: "Faults, last hour",
        about: "Things that should not happen; the row below says which.",
        view: ALARM,
        unit: "none",
        queries: &[("sum(increase(stepup_faults_total{@}[1h]))", "")],
    },
    Panel {
        title: "Tokens left alive",
        about: "Elevated tokens that outlived their call, since these Envoys started. A token that was lost may never have been minted.",
        view: ALARM,
        unit: "none",
        queries: &[(
            "(sum(stepup_revocations_total{@,outcome=~\"refused|expired|given_up\"}) or vector(0)) \
             + (sum(stepup_exchanges_total{@,outcome=\"lost\"}) or vector(0))",
            "",
        )],
    },
    Panel {
        title: "Oldest keys",
        about: "Old keys serve for `stale` (1 h); then requests are 503 `keys_stale`.",
        view: View::Numbers(Some((900.0, 2700.0))),
        unit: "s",
        queries: &[("max(stepup_keys_age_seconds{@})", "")],
    },
    Panel {
        title: "Envoys in shadow mode",
        about: "Their policy, or a rule of it, refuses nobody.",
        view: TASK,
        unit: "none",
        queries: &[("sum(stepup_shadow{@})", "")],
    },
];

const DECISIONS: [Panel; 5] = [
    Panel {
        title: "Decisions by verdict",
        about: "`challenge` is part of stepping up; a client that answers it comes back with `permit`.",
        view: View::Stacked,
        unit: "reqps",
        queries: &[("sum by (verdict) (rate(stepup_decisions_total{@}[$__rate_interval]))", "{{verdict}}")],
    },
    Panel {
        title: "Refusals and challenges by reason",
        about: "Every reason, with who must act, is in docs/wire.md.",
        view: View::Lines,
        unit: "reqps",
        queries: &[(
            "sum by (reason) (rate(stepup_decisions_total{@,verdict=~\"challenge|deny\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    },
    Panel {
        title: "Decisions by server",
        about: "`-` is what no server of the policy was found for.",
        view: View::Stacked,
        unit: "reqps",
        queries: &[("sum by (server) (rate(stepup_decisions_total{@}[$__rate_interval]))", "{{server}}")],
    },
    Panel {
        title: "Share refused or challenged, by server",
        about: "A step after a release of a server, or of a policy, is what to look for.",
        view: View::Lines,
        unit: "percentunit",
        queries: &[(
            "sum by (server) (rate(stepup_decisions_total{@,verdict=~\"challenge|deny\"}[$__rate_interval])) \
             / sum by (server) (rate(stepup_decisions_total{@}[$__rate_interval]))",
            "{{server}}",
        )],
    },
    Panel {
        title: "Requests that came, and those judged",
        about: "What came and was not judged went another way: preflights, routes without a server, or past the filter.",
        view: View::Lines,
        unit: "reqps",
        queries: &[
            (
                "sum by (envoy_http_conn_manager_prefix) (rate(envoy_http_downstream_rq_total{@,\
                 envoy_http_conn_manager_prefix!~\"admin|stats|agent\"}[$__rate_interval]))",
                "came: {{envoy_http_conn_manager_prefix}}",
            ),
            ("sum(rate(stepup_decisions_total{@}[$__rate_interval]))", "judged"),
        ],
    },
];

const ELEVATION: [Panel; 6] = [
    Panel {
        title: "Elevated calls by server",
        about: "Calls that went on with a token of their own.",
        view: View::Stacked,
        unit: "reqps",
        queries: &[(
            "sum by (server) (rate(stepup_decisions_total{@,reason=\"elevated\"}[$__rate_interval]))",
            "{{server}}",
        )],
    },
    Panel {
        title: "Exchanges by outcome",
        about: "`late`: it came when nobody waited, and was revoked. Reasons are in docs/wire.md.",
        view: View::Stacked,
        unit: "ops",
        queries: &[("sum by (outcome) (rate(stepup_exchanges_total{@}[$__rate_interval]))", "{{outcome}}")],
    },
    Panel {
        title: "Time of an exchange",
        about: "The caller waits for it.",
        view: View::Lines,
        unit: "ms",
        queries: &[
            ("histogram_quantile(0.5, sum by (le) (rate(stepup_exchange_ms_bucket{@}[$__rate_interval])))", "median"),
            ("histogram_quantile(0.95, sum by (le) (rate(stepup_exchange_ms_bucket{@}[$__rate_interval])))", "95 %"),
            ("histogram_quantile(0.99, sum by (le) (rate(stepup_exchange_ms_bucket{@}[$__rate_interval])))", "99 %"),
        ],
    },
    Panel {
        title: "Mean time of an exchange, by server",
        about: "Servers have different audiences and scopes, and the token service may take longer for some.",
        view: View::Lines,
        unit: "ms",
        queries: &[(
            "sum by (server) (rate(stepup_exchange_ms_sum{@}[$__rate_interval])) \
             / sum by (server) (rate(stepup_exchange_ms_count{@}[$__rate_interval]))",
            "{{server}}",
        )],
    },
    Panel {
        title: "Ends of tokens",
        about: "`refused`, `expired` and `given_up` outlived their call; `unsupported` and `kept` live until their `exp` on purpose.",
        view: View::Stacked,
        unit: "ops",
        queries: &[("sum by (outcome) (rate(stepup_revocations_total{@}[$__rate_interval]))", "{{outcome}}")],
    },
    Panel {
        title: "Tokens granted and not ended, since these Envoys started",
        about: "Near 0, and as many as calls are under way. What climbs is revoked later than its call, or not at all.",
        view: View::Lines,
        unit: "none",
        queries: &[(
            "sum by (job, instance) (stepup_exchanges_total{@,outcome=~\"granted|late\"}) \
             - sum by (job, instance) (stepup_revocations_total{@})",
            "{{job}} {{instance}}",
        )],
    },
];

const KEYS: [Panel; 2] = [
    Panel {
        title: "Age of keys, by issuer",
        about: "A saw: keys are renewed every `refresh` (5 min). What climbs to an hour ends in 503 `keys_stale`.",
        view: View::Lines,
        unit: "s",
        queries: &[("max by (issuer) (stepup_keys_age_seconds{@})", "{{issuer}}")],
    },
    Panel {
        title: "Fetches of keys, since these Envoys started",
        about: "`withdrawn`: the issuer shows no usable key any more, and that is believed.",
        view: View::Lines,
        unit: "none",
        queries: &[("sum by (issuer, outcome) (stepup_jwks_fetches_total{@})", "{{issuer}} {{outcome}}")],
    },
];

const FAULTS: [Panel; 4] = [
    Panel {
        title: "Faults by kind, in 15 minutes",
        about: "All should lie at 0. Each kind is in docs/wire.md, and what to do in docs/operating.md.",
        view: View::Lines,
        unit: "none",
        queries: &[("sum by (kind) (increase(stepup_faults_total{@}[15m]))", "{{kind}}")],
    },
    Panel {
        title: "VMs that trapped, in 15 minutes",
        about: "A VM that traps loses its revocations. One that cannot be started again answers 503.",
        view: View::Lines,
        unit: "none",
        queries: &[
            ("sum(increase(envoy_wasm_step_up_vm_reload_success{@}[15m]))", "started again"),
            ("sum(increase(envoy_wasm_step_up_vm_reload_failure{@}[15m]))", "not started again"),
        ],
    },
    Panel {
        title: "Discovery, in 15 minutes",
        // `config_reload` counts refused ones, too.
        about: "Each change of the policy is taken or refused.",
        view: View::Lines,
        unit: "none",
        queries: &[
            ("sum(increase(envoy_extension_config_discovery_http_filter_step_up_update_success{@}[15m]))", "taken"),
            ("sum(increase(envoy_extension_config_discovery_http_filter_step_up_config_fail{@}[15m]))", "refused"),
        ],
    },
    Panel {
        title: "Refused by the lock",
        about: "RBAC, by listener. Above 0 the filter is missing, switched off for a route, or has no policy.",
        view: View::Lines,
        unit: "reqps",
        queries: &[(
            "sum by (envoy_http_conn_manager_prefix) (rate(envoy_http_rbac_denied{@}[$__rate_interval]))",
            "{{envoy_http_conn_manager_prefix}}",
        )],
    },
];

const IN_FORCE: [Panel; 3] = [
    Panel {
        title: "Module and policy of each Envoy",
        about: "`stepup check policy.yaml` prints the digest of a policy.",
        view: View::Table,
        unit: "none",
        queries: &[("max by (job, instance, module, policy) (stepup_info{@}) == 1", "")],
    },
    Panel {
        title: "Envoys by module and policy",
        about: "Two lines for longer than a rollout: some Envoys did not take the new one.",
        view: View::Stacked,
        unit: "none",
        queries: &[("count by (module, policy) (stepup_info{@} == 1)", "{{module}} {{policy}}")],
    },
    Panel {
        title: "Decisions in shadow mode",
        about: "What the policy did not enforce. What enforcing would have come to is in the records: `stepup replay`.",
        view: View::Stacked,
        unit: "reqps",
        queries: &[(
            "sum by (server, reason) (rate(stepup_decisions_total{@,mode=\"shadow\"}[$__rate_interval]))",
            "{{server}} {{reason}}",
        )],
    },
];

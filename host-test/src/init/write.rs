//! The file: a policy with comments for who has to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use step_up_core::pin;

use super::dialect::Dialect;
use super::issuer::Issuer;
use super::listed::{Listed, Tool};
use super::rules::Sorted;
use super::tier::{self, Tier};
use crate::text::{ascii, quoted, scalar, shown};

/// What goes into it.
pub(super) struct Proposal<'p> {
    pub listed: &'p Listed,
    pub issuer: Option<Issuer>,
    /// The server that was asked.
    pub url: Option<&'p str>,
    pub resource: Option<&'p str>,
    pub audience: Option<&'p str>,
    pub filter_client: Option<&'p str>,
    pub may_elevate: &'p [String],
    pub shadow: Option<&'p str>,
    pub pins: bool,
}

/// Rules for resources beyond this many are for a pattern, which a person has to choose.
const MOST_RESOURCES: usize = 100;

impl Proposal<'_> {
    /// The policy, and what the user should hear of it.
    pub(super) fn written(&self) -> Result<(String, Vec<String>)> {
        let tools = Sorted::of("tools", self.listed.tools.iter().map(|tool| tool.name.as_str()));
        let prompts = Sorted::of("prompts", self.listed.prompts.iter().map(String::as_str));
        let resources = self.resources();
        if tools.kept.is_empty() && prompts.kept.is_empty() && resources.kept.is_empty() {
            bail!("the server lists nothing that could have a rule");
        }
        let definitions: BTreeMap<&str, &Tool> =
            self.listed.tools.iter().map(|tool| (tool.name.as_str(), tool)).collect();
        let ruled = tools.kept.iter().map(|name| {
            let (tier, why) = tier::of(name, definitions.get(name.as_str()).map_or("", |tool| &tool.definition));
            (name, tier, why)
        });
        let ruled: Vec<(&String, Tier, String)> = ruled.collect();
        let mut used: BTreeSet<Tier> = ruled.iter().map(|(_, tier, _)| *tier).collect();
        used.extend((!prompts.kept.is_empty() || !resources.kept.is_empty()).then_some(Tier::Read));
        let mut page = Page::default();
        self.head(&mut page);
        self.issuer(&mut page);
        self.service(&mut page, &used);
        self.server(&mut page, &used);
        if !ruled.is_empty() {
            page.line(0, "tools:");
        }
        for (name, tier, why) in &ruled {
            page.line(1, &format!("{}: {{ tier: {} }} # {why}", scalar(name), tier.name()));
        }
        without_rule(&mut page, &tools);
        for (map, sorted, what) in [
            (
                "prompts",
                &prompts,
                "Prompts are texts; what is done with them are calls of tools, which are judged as such.",
            ),
            ("resources", &resources, "Resources are read on the baseline: raise those that not everybody may read."),
        ] {
            if !sorted.kept.is_empty() {
                page.comment(what);
                page.line(0, &format!("{map}:"));
                for name in &sorted.kept {
                    page.line(1, &format!("{}: {{ tier: read }}", scalar(name)));
                }
            }
            without_rule(&mut page, sorted);
        }
        self.pins(&mut page, &tools, &definitions);
        let [read, write, danger] = [Tier::Read, Tier::Write, Tier::Danger]
            .map(|wanted| ruled.iter().filter(|(_, tier, _)| *tier == wanted).count());
        let mut remarks = vec![format!(
            "proposed for its tools: {read} read, {write} write, {danger} danger. Read every rule before it counts."
        )];
        let refused: Vec<_> = [&tools, &prompts, &resources].into_iter().flat_map(|sorted| &sorted.refused).collect();
        remarks.extend(refused.iter().map(|(name, why)| format!("no rule for {}: {}", shown(name), ascii(why))));
        if self.listed.nameless > 0 {
            remarks.push(format!("left out: {} without a name that is a text", self.listed.nameless));
        }
        let edits = page.0.matches("# EDIT").count();
        if edits > 0 {
            let lines = if edits == 1 { "line is" } else { "lines are" };
            remarks.push(format!("{edits} {lines} marked EDIT: to be changed before the policy is of use"));
        }
        Ok((page.0, remarks))
    }

    fn resources(&self) -> Sorted {
        let mut templates = Sorted::of("resources", self.listed.templates.iter().map(String::as_str));
        let mut exact = Sorted::default();
        let uris = self.listed.resources.iter().filter(|uri| !self.listed.templates.contains(uri));
        let (patterns, uris): (Vec<&String>, Vec<&String>) = uris.partition(|uri| uri.contains(['{', '}']));
        if uris.len() <= MOST_RESOURCES {
            exact = Sorted::of("resources", uris.into_iter().map(String::as_str));
        } else {
            let why = format!("one of {}: write a pattern for them", uris.len());
            exact.refused = uris.into_iter().take(3).map(|uri| (uri.clone(), why.clone())).collect();
        }
        templates.kept.append(&mut exact.kept);
        templates.kept.sort();
        templates.refused.append(&mut exact.refused);
        templates
            .refused
            .extend(patterns.into_iter().map(|uri| (uri.clone(), "with its braces it would be a template".to_owned())));
        templates
    }

    fn dialect(&self) -> Dialect {
        self.issuer.as_ref().map_or(Dialect::Plain, |issuer| issuer.dialect)
    }

    /// Entra exchanges for another application's API only, and which one is not known here.
    fn exchanges(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.exchanges && issuer.dialect != Dialect::Entra)
    }

    fn audience(&self) -> Option<(&str, &'static str)> {
        let edit =
            || self.dialect().audience().map(|audience| (audience, " # EDIT: what the tokens of this server are for"));
        self.audience.map(|audience| (audience, "")).or_else(edit)
    }

    fn head(&self, page: &mut Page) {
        page.comment("Proposed by `stepup init` from what the server says of itself. Names and annotations are hints from a stranger, not");
        page.comment("facts: an annotation made a tier stricter, never looser, and a name that was not understood counts as a write.");
        page.comment("Read every rule. Then `stepup check --strict` this file, try it with `stepup serve`, write scenarios (`stepup test`).");
        if let Some(server) = &self.listed.server {
            page.comment(&format!("The server calls itself {}.", shown(server)));
        }
        page.line(0, "version: 1");
        match self.shadow {
            Some(until) => {
                page.comment("Calls pass and are recorded; from that day on the policy is enforced.");
                page.line(0, "mode: shadow");
                page.line(0, &format!("until: {until}"));
            }
            None => page.comment("Enforced from the start. To watch first: `mode: shadow` and `until: DATE` (P15)."),
        }
    }

    fn issuer(&self, page: &mut Page) {
        let Some(issuer) = &self.issuer else {
            page.comment(
                "EDIT: your authorization server. `stepup init --issuer URL` fills this in from its metadata.",
            );
            page.line(0, "issuers:");
            page.line(1, "https://as.example.com: # EDIT");
            page.line(2, "jwks: { cluster: as-keys, url: https://as.example.com/jwks } # EDIT: `cluster` is Envoy's name for that host");
            page.line(2, "algorithms: [ES256] # EDIT: those of its keys, no others");
            page.line(2, "max_lifetime: 1h");
            return;
        };
        if let Some((name, folder)) = issuer.dialect.example() {
            page.comment(&format!(
                "Its endpoints are those of {name}. What to do there: policies/{folder}/README.md of this project."
            ));
        }
        page.line(0, "issuers:");
        page.line(1, &format!("{}:", quoted(&issuer.issuer)));
        let whence = if issuer.told_by_keys { "of its keys" } else { "of its metadata: its keys do not say it" };
        page.line(
            2,
            &format!(
                "jwks: {{ cluster: as-keys, url: {} }} # `cluster` is Envoy's name for that host",
                quoted(&issuer.jwks)
            ),
        );
        page.line(2, &format!("algorithms: [{}] # {whence}", issuer.algorithms.join(", ")));
        page.line(2, &format!("max_lifetime: {}", issuer.dialect.max_lifetime()));
        if issuer.issuer.contains("{tid}") {
            page.line(2, "tenants: { claim: tid, in: [00000000-0000-0000-0000-000000000000] } # EDIT: your tenants");
            page.line(2, &format!("advertised: {}", quoted(&issuer.issuer.replace("{tid}", "organizations"))));
        }
        for line in issuer.dialect.of_issuer(self.audience().map_or("", |(audience, _)| audience)) {
            page.line(2, &line);
        }
        if let Some(introspect) = &issuer.introspect {
            page.comment_at(
                2,
                &format!("If its tokens are opaque, they can be asked about (P23): {}", shown(introspect)),
            );
        }
    }

    fn service(&self, page: &mut Page, used: &BTreeSet<Tier>) {
        if !used.contains(&Tier::Danger) {
            return;
        }
        let Some(issuer) = &self.issuer else {
            page.comment("Without a token service that is known, `danger` is challenged. With one that speaks RFC 8693, exchange is better:");
            page.comment("a token for one call, that dies with it (policies/exchange-for-destructive).");
            return;
        };
        let Some(token) = issuer.token.as_ref().filter(|_| self.exchanges()) else {
            page.comment(match issuer.dialect {
                Dialect::Entra => "Entra exchanges on behalf of, for the API behind the server: policies/entra. Until then `danger` is challenged.",
                _ => "Its metadata do not name token exchange (RFC 8693), so `danger` is challenged.",
            });
            return;
        };
        page.comment(
            "It exchanges tokens (RFC 8693): a token for one call, that dies with it. It must let this client do so.",
        );
        page.line(0, "token_service:");
        page.line(1, &format!("issuer: {}", quoted(&issuer.issuer)));
        page.line(1, "cluster: as-token # authenticates the filter: mTLS, or credentials that the proxy injects");
        page.line(1, &format!("token: {}", quoted(token)));
        match issuer.revoke.as_ref().filter(|_| issuer.dialect.revokes()) {
            Some(revoke) => page.line(1, &format!("revoke: {}", quoted(revoke))),
            None => {
                page.line(1, "revoke: none # it takes no access tokens back: what is obtained lives until its `exp`")
            }
        }
        match (self.filter_client, self.resource.or(self.url)) {
            (Some(client), _) => page.line(1, &format!("client: {{ id: {}, auth: cluster }}", quoted(client))),
            (None, Some(resource)) if issuer.dialect == Dialect::Keycloak => {
                page.line(
                    1,
                    &format!("client: {{ id: {}, auth: cluster }} # the resource's own client", quoted(resource)),
                );
            }
            (None, _) => {
                page.line(1, "client: { id: step-up-filter, auth: cluster } # EDIT: what the filter is called there")
            }
        }
        for line in issuer.dialect.of_service(&issuer.issuer) {
            page.line(1, &line);
        }
    }

    /// Resource, baseline and tiers.
    fn server(&self, page: &mut Page, used: &BTreeSet<Tier>) {
        let dialect = self.dialect();
        let scope = |name: &str| dialect.scope("tools", name);
        let [write, admin] = ["write", "admin"].map(|name| quoted(&scope(name)));
        let uses = |tier: Tier| used.contains(&tier);
        if uses(Tier::Write) || uses(Tier::Danger) {
            page.comment(
                "Scopes: they have to be there at the authorization server, and agents get the baseline only.",
            );
        }
        if uses(Tier::Write) && uses(Tier::Danger) {
            page.line(0, "scopes:");
            page.line(1, &format!("{admin}: {{ implies: [{write}] }}"));
        }
        page.line(0, "tiers:");
        if uses(Tier::Read) {
            page.line(1, "read: { scope: [] } # any valid token for this server that has the baseline");
        }
        // Entra's tokens live longer, whatever is said there.
        let lives = if dialect == Dialect::Entra { dialect.max_lifetime() } else { "15m" };
        if uses(Tier::Write) {
            page.line(1, &format!("write: {{ step_up: challenge, scope: {write}, max_lifetime: {lives} }}"));
        }
        if uses(Tier::Danger) {
            page.comment_at(1, "Deletes, runs, sends or publishes something, or reads secrets.");
            self.danger(page, &admin, lives);
        }
        let (resource, edit) = match (self.resource, self.url) {
            (Some(resource), _) => (resource, ""),
            (None, Some(url)) => (url, "EDIT, unless clients call it so: "),
            (None, None) => ("https://mcp.example.com/mcp", "EDIT: "),
        };
        let resource = quoted(resource);
        page.line(0, &format!("resource: {resource} # {edit}what clients call it; their tokens are for this"));
        if let Some((audience, edit)) = self.audience() {
            page.line(0, &format!("audiences: [{}]{edit}", quoted(audience)));
        }
        page.line(0, &format!("baseline: [{}] # every token needs it", quoted(&dialect.scope("mcp", "connect"))));
    }

    fn danger(&self, page: &mut Page, admin: &str, lives: &str) {
        if !self.exchanges() {
            return page.line(1, &format!("danger: {{ step_up: challenge, scope: {admin}, max_lifetime: {lives} }}"));
        }
        page.line(1, "danger:");
        page.line(2, "step_up: exchange");
        page.line(2, &format!("scope: {admin}"));
        page.line(2, &format!("ttl: {}", self.dialect().ttl()));
        if let Some((audience, edit)) = self.audience().filter(|_| self.dialect() == Dialect::Zitadel) {
            page.line(2, &format!("audience: {}{edit}", quoted(audience)));
        }
        let clients: Vec<String> = self.may_elevate.iter().map(|client| quoted(client)).collect();
        let clients = clients.join(", ");
        if clients.is_empty() {
            page.line(2, "may_elevate: { client: [EDIT-client] } # EDIT: who may at all; nobody until then (P8)");
        } else {
            page.line(2, &format!("may_elevate: {{ client: [{clients}] }}"));
        }
    }

    fn pins(&self, page: &mut Page, tools: &Sorted, definitions: &BTreeMap<&str, &Tool>) {
        if !self.pins || tools.kept.is_empty() {
            return;
        }
        page.comment("The definitions as they were when this was written: one that changes is shown to nobody until it is pinned anew");
        page.comment("(P31; `stepup pin --policy` says which). Pinning is no review: read them.");
        page.line(0, "pins:");
        for name in &tools.kept {
            if let Some(pin) = definitions.get(name.as_str()).and_then(|tool| pin(&tool.definition)) {
                page.line(1, &format!("{}: {}", scalar(name), quoted(&pin)));
            }
        }
    }
}

/// What stays without a rule is refused, and whoever reads the policy should know it.
fn without_rule(page: &mut Page, sorted: &Sorted) {
    for (name, why) in &sorted.refused {
        page.comment_at(1, &format!("No rule, so refused: {}: {}", shown(name), ascii(why)));
    }
}

/// The text as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{:1$}{text}", "", depth * 2);
    }

    fn comment(&mut self, text: &str) {
        self.comment_at(0, text);
    }

    fn comment_at(&mut self, depth: usize, text: &str) {
        self.line(depth, &format!("# {text}"));
    }
}

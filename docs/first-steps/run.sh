#!/usr/bin/env bash
# The way of the README, from nothing to one's own MCP server behind the filter, with the time of each step. Everything happens in an
# empty folder that is given or made, and listens on loopback. It takes git, Rust with rustup, a C compiler, curl, and Python for the
# MCP server that stands for one's own.
#
#   docs/first-steps/run.sh [REPOSITORY [FOLDER]]
#
# With STEPUP=PATH that command is used, and nothing is cloned, built or demonstrated.
set -euo pipefail

repository=${1:-$(git -C "$(dirname "$0")" rev-parse --show-toplevel)}
folder=${2:-$(mktemp -d)}
MCP=${MCP:-13001} ISSUER=${ISSUER:-19000} LISTEN=${LISTEN:-18080}
processes=()

finish() {
    for process in "${processes[@]}"; do
        kill "$process" 2> /dev/null || true
        wait "$process" 2> /dev/null || true
    done
}
trap finish EXIT

begin=$SECONDS
step() { printf '%4d s  %s\n' $((SECONDS - begin)) "$1"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}
# Waits until something answers there.
answers() { curl --silent --output /dev/null --retry 40 --retry-connrefused --retry-delay 0 --retry-max-time 20 "$1"; }

step "an empty folder: $folder"
stepup=${STEPUP:-}
if [ -z "$stepup" ]; then
    git clone --quiet "$repository" "$folder/step-up"
    cd "$folder/step-up"
    unset CARGO_TARGET_DIR STEP_UP_WASM
    step "cloned"

    cargo run --quiet -p host-test -- demo > "$folder/demo.txt" || fail "the demo: $folder/demo.txt"
    grep -q 'Everything went as told' "$folder/demo.txt" || fail "the demo says something else: $folder/demo.txt"
    step "the demo has told its story (all of it compiled: that is most of the time)"
    # From here on each step is a command of a second or less.
    stepup=$PWD/target/debug/stepup
else
    cd "$repository"
fi

python3 docs/first-steps/server.py $MCP &
processes+=($!)
answers "http://127.0.0.1:$MCP/mcp"
step "one's own MCP server runs, open to everybody"

# In place of an authorization server of one's own.
"$stepup" issuer --port $ISSUER --resource "http://127.0.0.1:$LISTEN/mcp" > "$folder/issuer.txt" &
processes+=($!)
answers "http://127.0.0.1:$ISSUER/jwks"
step "an authorization server to try things out with"

"$stepup" init --url "http://127.0.0.1:$MCP/mcp" --resource "http://127.0.0.1:$LISTEN/mcp" \
    --issuer "http://127.0.0.1:$ISSUER" --may-elevate mcp-client --output "$folder/policy.yaml"
"$stepup" check --strict "$folder/policy.yaml"
step "a policy, proposed and checked: $folder/policy.yaml"

FILTER=$(sed -n "s/^ *export FILTER='\(.*\)'$/\1/p" "$folder/issuer.txt")
export FILTER
"$stepup" serve "$folder/policy.yaml" --listen "127.0.0.1:$LISTEN" --upstream "http://127.0.0.1:$MCP/mcp" \
    --credential as-token=FILTER > "$folder/serve.txt" &
processes+=($!)
answers "http://127.0.0.1:$LISTEN/mcp"
step "the filter serves it"

TOKEN=$(curl --silent "http://127.0.0.1:$ISSUER/token" -u mcp-client:mcp-secret -d grant_type=client_credentials \
    -d "resource=http://127.0.0.1:$LISTEN/mcp" -d scope=mcp:connect | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
[ ${#TOKEN} -gt 100 ] || fail "no token"

# Calls a tool: the status.
call() {
    local tool=$1
    shift
    curl --silent --output "$folder/answer.txt" --write-out '%{http_code}' "http://127.0.0.1:$LISTEN/mcp" \
        -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
        -H 'mcp-protocol-version: 2025-11-25' "$@" \
        -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"'"$tool"'","arguments":{"id":"1"}}}'
}

status=$(call get_note)
[ "$status" = 401 ] || fail "a call without a token is $status"
status=$(call get_note -H "authorization: Bearer $TOKEN")
[ "$status" = 200 ] && grep -q 'buy milk' "$folder/answer.txt" || fail "reading is $status"
status=$(call wipe -H "authorization: Bearer $TOKEN")
[ "$status" = 403 ] || fail "a tool without a rule is $status"
status=$(call delete_note -H "authorization: Bearer $TOKEN")
[ "$status" = 200 ] && grep -q 'deleted: buy milk' "$folder/answer.txt" || fail "deleting is $status"
for _ in $(seq 50); do
    grep -q revoked "$folder/serve.txt" && break
    sleep 0.1
done
grep -q revoked "$folder/serve.txt" || fail "the token of the call was not revoked: $folder/serve.txt"
step "no token 401, reading 200, no rule 403, deleting on a token of its own, which is revoked"
cat "$folder/serve.txt"

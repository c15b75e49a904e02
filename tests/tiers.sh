#!/bin/bash
# Runs tiers of tests, each lane one after the other and all lanes at the same time: much of what a tier does is to wait
# until time has passed or a broker has come up. What a tier says is printed in one piece when it has ended.
#
#   tests/tiers.sh LANE...      a lane is a list of tiers in one argument
#
# SERIAL, WAITING and TELLING name the tiers that run one test at a time, eight at a time, and that show what they print.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=target/tiers
rm -rf "$logs"
mkdir -p "$logs"

holds() { [[ " $1 " == *" $2 "* ]]; }

command_of() {
    local tier=$1
    case "$tier" in
        unit) echo "$CARGO test --locked --quiet --lib --bins" ;;
        doc) echo "$CARGO test --locked --quiet --doc" ;;
        chart-test | container-test) echo "make --no-print-directory $tier" ;;
        *)
            local options=""
            if holds "$SERIAL" "$tier"; then options=" --test-threads=1"; fi
            if holds "$WAITING" "$tier"; then options=" --test-threads=8"; fi
            if holds "$TELLING" "$tier"; then options+=" --nocapture"; fi
            echo "$CARGO test --locked --quiet --test $tier --$options"
            ;;
    esac
}

lane() {
    local tier begun
    for tier in $1; do
        begun=$SECONDS
        # Words of a command that this script has made: none holds a space.
        # shellcheck disable=SC2046
        $(command_of "$tier") > "$logs/$tier" 2>&1 || echo "$tier" >> "$logs/failed"
        (
            flock 9
            printf '\n=== %s (from %s s to %s s)\n' "$tier" "$begun" "$SECONDS"
            cat "$logs/$tier"
        ) 9> "$logs/lock"
    done
}

# A process group for each lane, so that an interrupt ends all that it has started.
set -m
lanes=()
trap 'for lane in "${lanes[@]}"; do kill -- "-$lane" 2>/dev/null || true; done; exit 130' INT TERM
for tiers in "$@"; do
    lane "$tiers" &
    lanes+=($!)
done
wait "${lanes[@]}"
if [ -e "$logs/failed" ]; then
    echo "failed tiers: $(tr '\n' ' ' < "$logs/failed")" >&2
    exit 1
fi

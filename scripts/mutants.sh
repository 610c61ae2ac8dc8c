#!/usr/bin/env bash
# Takes one guard of the delivery out at a time and shows that the tests notice.
#
# Each file in tests/mutants is a patch; the lines before the diff say what it breaks and which tests
# must go red. `scripts/mutants.sh --check` only looks whether all of them still apply; names choose
# some of them.
set -euo pipefail
cd "$(dirname "$0")/.."

patches=(tests/mutants/*.patch)
if [ "${1:-}" = --check ]; then
    for patch in "${patches[@]}"; do
        git apply --check "$patch" || { echo "mutants: $patch does not apply any more" >&2; exit 1; }
    done
    echo "mutants: ${#patches[@]} apply"
    exit
fi
if [ $# -gt 0 ]; then
    patches=()
    for name in "$@"; do patches+=("tests/mutants/$name.patch"); done
fi

tree=target/mutants/tree
mkdir -p target/mutants
git worktree remove --force "$tree" 2>/dev/null || true
git worktree prune
git worktree add --quiet --detach "$tree" HEAD
trap 'git worktree remove --force "$tree"' EXIT
# Spares the first run the C library.
[ -d target/mutants/build ] || ! [ -d target/release ] || {
    mkdir -p target/mutants/build
    cp -a target/release target/mutants/build/
}
export CARGO_TARGET_DIR=$PWD/target/mutants/build
# Each of them is compiled for a few seconds of tests: only what it changes, and without optimising it. The
# profile stays the one in which the C library is compiled already.
export CARGO_INCREMENTAL=1
package=profile.release.package.tidegate
quickly=(--config "$package.opt-level=0" --config "$package.codegen-units=64")

red=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    log=$PWD/target/mutants/$name.log
    patch=$PWD/$patch
    git -C "$tree" checkout --quiet --force
    git -C "$tree" apply "$patch"
    read -r -a tests <<<"$(sed -n 's/^red: //p' "$patch")"
    if (cd "$tree" && cargo test --release "${quickly[@]}" "${tests[@]}") >"$log" 2>&1; then
        echo "mutant $name: GREEN, nothing noticed it"
    elif grep -q '^test result: FAILED' "$log"; then
        failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | paste -sd ' ')
        echo "mutant $name: red ($failed)"
        red=$((red + 1))
    else
        echo "mutant $name: does not build or run, see $log"
    fi
done
echo "mutants: $red of ${#patches[@]} red"
[ "$red" -eq "${#patches[@]}" ]

#!/usr/bin/env bash
# Builds the binary that is released: the list of its dependencies is inside of it
# (cargo-auditable), and stands beside it as an SBOM in CycloneDX's format, with checksums of both.
#
#     packaging/release.sh            # into target/release-files/
#
# Installs its two tools below target/, at fixed versions. `cargo audit bin kmi` reads the list back
# out of the binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/release-tools
out=$target/release-files

# Name and version. A short build: they run for a moment.
tool() {
    [[ -x $tools/bin/$1 ]] || CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
        cargo install --quiet --locked --root "$tools" "$1@$2"
}
tool cargo-auditable 0.7.7
tool auditable2cdx 0.1.0

PATH=$tools/bin:$PATH cargo auditable build --release --locked --package kmi-cli
rm -rf "$out"
mkdir -p "$out"
cp "$target/release/kmi" "$out/kmi"
"$tools/bin/auditable2cdx" "$out/kmi" >"$out/kmi.cdx.json"
(cd "$out" && sha256sum kmi kmi.cdx.json >SHA256SUMS)

# A list that lacks what is certainly inside would be worse than none.
for name in kmi-proxy rustls hyper rusqlite tokio; do
    grep -q "\"name\": *\"$name\"" "$out/kmi.cdx.json" || { echo "the SBOM lacks $name" >&2; exit 1; }
done
echo "$out: $(wc -c <"$out/kmi") bytes, $(grep -o '"purl"' "$out/kmi.cdx.json" | wc -l) packages in the SBOM"

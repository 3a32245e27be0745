# Sourced by what makes tables of figures.
# into_doc DOC MARK TABLE: the file TABLE goes between '<!-- MARK -->' and the next '<!-- end -->' of the file DOC
into_doc() {
	grep -qxF "<!-- $2 -->" "$1" || { echo "$1 has no place for '$2'" >&2; return 1; }
	awk -v mark="<!-- $2 -->" -v table="$3" '
		$0 == mark { print; while ((getline line < table) > 0) print line; skip = 1; next }
		/^<!-- end -->/ { skip = 0 }
		!skip' "$1" >"$3.doc" && cat "$3.doc" >"$1"
}

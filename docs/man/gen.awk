# Makes the man pages of section 3 from include/holdfast.h: one page for each of its parts, so that there is one text.
# usage: awk -v out=DIR [-v header=holdfast/crash.h] -f gen.awk FILE
function flush_page() {
	if (file) {
		if (synopsis)
			printf ".SH SYNOPSIS\n.nf\n#include <%s>\n.sp\n%s.fi\n", header ? header : "holdfast.h", synopsis > file
		printf ".SH DESCRIPTION\n%s.SH ERRORS\nFunctions return 0 (or a count) or a negative errno value;\n.BR hf_errormsg ()\ngives the sentence.\n.SH SEE ALSO\n.BR holdfast (1)\n", body > file
		close(file)
	}
	synopsis = body = ""
}
# Tabs of 8 columns, so that comments stay aligned.
function expand(s,    out, at) {
	out = ""
	while (at = index(s, "\t")) {
		out = out substr(s, 1, at - 1)
		s = substr(s, at + 1)
		do
			out = out " "
		while (length(out) % 8)
	}
	return out s
}
# An empty line of a comment is a new paragraph, indented as the text around it.
function paragraphs(s, macro) {
	gsub(/ *\001 */, "\n" macro "\n", s)
	return s
}
function esc(s) {
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	sub(/^\./, "\\\\\\&.", s)
	sub(/^'/, "\\\\\\&'", s)
	return s
}
/^\/\* -+ [a-z ]+ \*\/$/ {
	flush_page()
	title = $0
	gsub(/^\/\* -+ | \*\/$/, "", title)
	name = "hf_" title
	gsub(/ /, "_", name)
	file = out "/" name ".3"
	printf ".TH %s 3 2026-11-21 \"holdfast 0.1\" \"holdfast\"\n.SH NAME\n%s \\- libholdfast: %s\n", toupper(name), name, title > file
	next
}
!file { next }
/^#ifdef __cplusplus/ { exit }
/^#define|^struct iovec;/ { next }
/^typedef .*;/ {
	line = $0
	comment = ""
	if (match(line, /\/\*.*\*\//)) {
		comment = substr(line, RSTART + 2, RLENGTH - 4)
		line = substr(line, 1, RSTART - 1)
	}
	sub(/[ \t]+$/, "", line)
	synopsis = synopsis esc(line) "\n"
	if (doc)
		body = body ".PP\n" paragraphs(esc(doc), ".PP") "\n"
	if (comment)
		body = body ".PP\n" esc(line) "  /*" esc(comment) "*/\n"
	doc = ""
	next
}
/^HF_API/ { proto = 1 }
proto {
	line = $0
	sub(/^HF_API /, "", line)
	comment = ""
	if (match(line, /\/\*.*\*\//)) {
		comment = substr(line, RSTART + 2, RLENGTH - 4)
		line = substr(line, 1, RSTART - 1)
	}
	sub(/[ \t]+$/, "", line)
	gsub(/\t/, "    ", line)
	synopsis = synopsis esc(line) "\n"
	text = text line " "
	if (comment)
		notes = notes comment
	if (line ~ /;$/) {
		if (match(text, /hf_[a-z0-9_]+\(/)) {
			fn = substr(text, RSTART, RLENGTH - 1)
			body = body ".TP\n.B " esc(fn) "()\n" (doc notes == "" ? "See above." : paragraphs(esc(doc notes), ".IP")) "\n"
		}
		text = notes = doc = ""
		proto = 0
	}
	next
}
/^\/\*/ { doc = ""; in_comment = 1 }
in_comment {
	line = $0
	sub(/^ ?\/?\*+ ?/, "", line)
	if (line ~ /\*\//) {
		sub(/ ?\*\/.*$/, "", line)
		in_comment = 0
	}
	doc = doc (doc == "" ? "" : " ") (line == "" ? "\001" : line)
	next
}
/^(struct|enum) .*\{/ { in_struct = 1; block = "" }
in_struct {
	block = block esc(expand($0)) "\n"
	if (/};/) {
		in_struct = 0
		body = body ".PP\n" (doc == "" ? "" : paragraphs(esc(doc), ".PP") "\n.PP\n") ".nf\n" block ".fi\n"
		doc = ""
	}
	next
}
END { flush_page() }

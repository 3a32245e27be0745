# Sourced by pmem-guest: the files that are the emulated NVDIMMs. 'formatted' says whether they have their namespaces.

nvdimm_file() { # INDEX
	if [ -z "$backing" ]; then
		echo "$shm.$1"
	elif [ "$1" = 0 ]; then
		echo "$backing"
	else
		echo "$backing.$1"
	fi
}

# Namespaces are made in a machine of their own, once, and copied: 3 s less each time.
template_make() { # TEMPLATE
	local i f
	"$self" "--$accel" --kernel "$kernel" --mode "$mode" --size "$size" --count "$count" --map "$map" --align "$align" \
		--backing "$1.new" -- true || die "cannot make the namespaces"
	for ((i = count - 1; i > 0; i--)); do mv "$1.new.$i" "$1.$i"; done
	mv "$1.new" "$1"
}
template_copy() {
	local t=$kernel_dir/$mode.$bytes.$map.$align.$count i f
	cached "$t" template_make "$t"
	for ((i = 0; i < count; i++)); do
		f=$t
		[ "$i" = 0 ] || f=$t.$i
		cp --sparse=always "$f" "$(nvdimm_file "$i")" || die "no room in /dev/shm"
	done
}

nvdimm_prepare() {
	local i f want=
	formatted=1
	case $mode in
	none | hmem) return ;;
	devdax) want=NVDIMM_DAX_INFO ;;
	fsdax*) want=NVDIMM_PFN_INFO ;;
	esac
	[ -z "$want" ] || [ -z "$template" ] || [ -n "$backing" ] || template_copy
	for ((i = 0; i < count; i++)); do
		f=$(nvdimm_file "$i")
		[ -e "$f" ] || truncate -s "$bytes" "$f" || die "cannot make the backing file $f"
		[ "$(stat -Lc %s "$f")" = "$bytes" ] || die "the backing file $f has $(stat -Lc %s "$f") bytes, --size says $bytes"
		# the namespace's own block is at 4 KiB
		[ -z "$want" ] || [ "$(dd if="$f" bs=15 skip=4096 iflag=skip_bytes count=1 status=none | tr -d '\0')" = "$want" ] || formatted=
	done
}

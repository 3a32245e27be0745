# Sourced by pmem-guest: Debian's kernel, its modules and an initramfs, made in the cache. Nothing is installed on the host.

# What the initramfs has, and the modules that these need. The rest is in /lib/modules of the guest.
initramfs_modules='virtio_pci virtio_console 9p 9pnet_virtio overlay nfit nd_pmem nd_btt device_dax dax_pmem kmem dax_hmem
	virtio_pmem nd_virtio ext4 xfs crc32c_generic crc32c_intel virtio_blk hwpoison-inject cxl_acpi cxl_pci cxl_mem cxl_pmem cxl_port'

# An apt of our own, with the machine's own mirrors and their backports: no root is needed, and nothing of the host's is changed.
private_apt() { # DIR COMMAND...
	local dir=$1 command=$2
	shift 2
	"$command" -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts="$dir/sources.d" -o Dir::State::lists="$dir/lists" \
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User= "$@"
}

private_apt_update() { # DIR
	local dir=$1 release
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	mkdir -p "$dir"/{sources.d,lists/partial,cache/archives/partial}
	# both styles; a suite RELEASE of the section main gets a twin RELEASE-backports
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed '/^[[:space:]]*deb /!d' >"$dir/one"
	sed -E "/[[:space:]]$release[[:space:]]/!d; s/[[:space:]]$release[[:space:]]/ $release-backports /" "$dir/one" | cat "$dir/one" - >"$dir/sources.list"
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] || continue
		cp "$f" "$dir/sources.d/"
		sed -E "/^Suites:/s/(^|[[:space:]])($release)([[:space:]]|$)/\1\2 $release-backports\3/" "$f" >"$dir/sources.d/${f##*/}"
	done
	private_apt "$dir" apt-get update >"$dir/log" 2>&1 || { cat "$dir/log" >&2; die "cannot read Debian's package lists"; }
}

# The newest linux-image of this X.Y that the archive's own choices name.
kernel_package() { # APT-DIR X.Y
	private_apt "$1" apt-cache show linux-image-amd64 2>/dev/null |
		sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | grep "^linux-image-${2/./\\.}\." | sort -V | tail -1
}

vmlinux_unpack() { # BZIMAGE OUT: booting it uncompressed saves the emulation of its decompressor
	local at
	for at in $(LC_ALL=C grep -aboP '\xFD7zXZ\x00' "$1" | cut -d: -f1); do
		tail -c +$((at + 1)) "$1" | xz -dc --single-stream >"$2" 2>/dev/null
		[ "$(head -c 4 "$2" | tail -c 3)" = ELF ] && return
	done
	for at in $(LC_ALL=C grep -aboP '\x28\xB5\x2F\xFD' "$1" | cut -d: -f1); do
		tail -c +$((at + 1)) "$1" | zstd -dcq >"$2" 2>/dev/null
		[ "$(head -c 4 "$2" | tail -c 3)" = ELF ] && return
	done
	cp "$1" "$2"
}

# CACHE/kernel-X.Y: vmlinux, modules below lib/modules, 'release' with the full version.
kernel_make() { # DIR X.Y
	local dir=$1 new=$1.new package release
	echo "$me: getting Debian's kernel $2, once" >&2
	rm -rf "$new"
	mkdir -p "$new/apt"
	private_apt_update "$new/apt"
	package=$(kernel_package "$new/apt" "$2")
	[ -n "$package" ] || die "Debian's archive, with backports, has no kernel $2 for this machine's release"
	(cd "$new/apt" && private_apt "$new/apt" apt-get download "$package" >log 2>&1) || { cat "$new/apt/log" >&2; die "cannot download $package"; }
	# a virtual machine has no use for what takes most of the room
	dpkg-deb --fsys-tarfile "$new/apt/$package"_*.deb | tar -x -C "$new" --wildcards --exclude='*/drivers/gpu' --exclude='*/drivers/media' \
		--exclude='*/drivers/net/wireless' --exclude='*/sound' --exclude='*/usr/share' || die "cannot unpack $package"
	[ ! -d "$new/usr/lib/modules" ] || { mkdir -p "$new/lib" && mv "$new/usr/lib/modules" "$new/lib/"; }
	release=$(ls "$new/lib/modules") || die "$package has no modules"
	PATH=$PATH:/usr/sbin:/sbin depmod -b "$new" "$release" || die "depmod failed for $release"
	vmlinux_unpack "$new/boot/vmlinuz-$release" "$new/vmlinux" || die "cannot unpack the kernel $release"
	rm -rf "$new/boot" "$new/apt" "$new/usr"
	echo "$release" >"$new/release"
	mv "$new" "$dir"
}

# busybox and modules, as the kernel wants it: what changes from run to run is a second archive behind it.
initramfs_make() { # OUT KERNEL-DIR
	local out=$1 dir=$2 release root m f
	release=$(cat "$dir/release")
	root=$(mktemp -d "$cache/root.XXXXXX") || return 1
	mkdir -p "$root"/{bin,proc,sys,dev,lower,over,h,"lib/modules/$release"}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for m in $initramfs_modules; do
		PATH=$PATH:/usr/sbin:/sbin modprobe -C /dev/null -d "$dir" -S "$release" --show-depends "$m" 2>/dev/null
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r f; do
		m=${f##*/}
		case $f in *.xz) xz -dc "$f" >"$root/lib/modules/$release/${m%.xz}" ;; *) cp "$f" "$root/lib/modules/$release/$m" ;; esac
	done
	cp "$dir/lib/modules/$release/"modules.{order,builtin}* "$root/lib/modules/$release/" 2>/dev/null
	PATH=$PATH:/usr/sbin:/sbin depmod -b "$root" "$release" && (cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$out.new" &&
		mv "$out.new" "$out"
	rm -rf "$root"
	[ -e "$out" ] || die "cannot make the initramfs"
}

kernel_prepare() { # X.Y
	kernel_dir=$cache/kernel-$1
	cached "$kernel_dir/release" kernel_make "$kernel_dir" "$1"
	release=$(cat "$kernel_dir/release")
	base=$kernel_dir/initramfs-$(echo "$initramfs_modules" | cksum | cut -d' ' -f1)
	cached "$base" initramfs_make "$base" "$kernel_dir"
}

# A hypervisor under us may have a KVM that does not get Debian's kernel to its first line: only a trial tells. Kept until the host reboots.
accel_choose() {
	local result=$cache/accel-$(cat /proc/sys/kernel/random/boot_id)
	[ -w /dev/kvm ] || { echo tcg; return; }
	cached "$result" accel_try "$result"
	cat "$result"
}
accel_try() { # RESULT
	rm -f "$cache"/accel-*
	if "$self" --kvm --mode none --kernel "$kernel" --timeout 15 -- true >/dev/null 2>&1; then echo kvm; else echo tcg; fi >"$1"
}

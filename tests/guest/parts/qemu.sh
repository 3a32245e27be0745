# Sourced by pmem-guest: one run of the machine.

# What is this run's: a second archive for the initramfs.
job_write() { # COMMAND...
	local job=$scratch/root/job d
	mkdir -p "$job/bin"
	cp "$parts"/{init,stage2,guest.sh} "$job/"
	cp "$parts"/pmem-{cut,mce} "$job/bin/"
	cat >"$job/conf" <<-END
	MODE=$mode MODS="$mods" MAP=$map ALIGN=$align COUNT=$count FORMATTED=$formatted RELEASE=$release
	MODULES=$(printf %q "$(realpath "$kernel_dir")/lib/modules/$release")
	END
	for d in ${rws[@]+"${rws[@]}"}; do echo "$d"; done >"$job/rw"
	export -p >"$job/env"
	printf 'cd %q || exit 125\nexec ' "$PWD" >"$job/cmd"
	printf '%q ' "$@" >>"$job/cmd"
	ln -s job/init "$scratch/root/init"
	(cd "$scratch/root" && find job init | cpio -o -H newc --quiet) >"$scratch/job.cpio" || die "cannot write the initramfs"
	cat "$base" "$scratch/job.cpio" >"$scratch/initramfs" || die "cannot write the initramfs"
}

qemu_memory() {
	local i total=$((count * bytes)) at ram=$mem_bytes
	machine_opts=q35,smbus=off,sata=off,hpet=off,usb=off,vmport=off
	case $mode in
	none) memory=(-m "$((ram / MIB))M") ;;
	hmem) # behind the RAM, or above 4 GiB where RAM goes when it does not fit below
		at=$(((ram + 1024 * MIB - 1) / (1024 * MIB) * 1024 * MIB))
		ram=$((at + total))
		if [ "$ram" -gt $((2560 * MIB)) ]; then
			ram=$((ram > at && at < 2048 * MIB ? 2048 * MIB + total : ram))
			at=$((at < 2048 * MIB ? 4096 * MIB : at + 2048 * MIB))
		fi
		memory=(-m "$((ram / MIB))M")
		for ((i = 0; i < count; i++)); do
			append="$append memmap=$((bytes / MIB))M%$(((at + i * bytes) / MIB))M-1+0xefffffff"
		done
		;;
	*)
		machine_opts=$machine_opts,nvdimm=on,nvdimm-persistence=$([ "$domain" = adr ] && echo mem-ctrl || echo cpu)
		memory=(-m "$((ram / MIB))M,slots=$((count + 1)),maxmem=$(((ram + total) / MIB + 4096))M")
		for ((i = 0; i < count; i++)); do
			memory+=(-object "memory-backend-file,id=mem$i,share=on,mem-path=$(nvdimm_file "$i"),size=$bytes,align=2M"
				-device "nvdimm,id=nvdimm$i,memdev=mem$i")
		done
		;;
	esac
}

qemu_arguments() {
	local cpu i
	# Without erms the kernel copies in words, which is emulated three times faster. Intel: so that a memory error becomes a bad block.
	case $accel in
	tcg) cpu=max,-erms,vendor=GenuineIntel ;;
	kvm) cpu=host,migratable=off ;;
	esac
	qemu_memory
	qemu=(qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -machine "$machine_opts" "${memory[@]}" -smp "$cpus" -nodefaults -no-user-config
		-display none -no-reboot -kernel "$kernel_dir/vmlinux" -initrd "$scratch/initramfs" -serial "file:$scratch/console"
		-append "console=ttyS0 quiet panic=-1 cryptomgr.notests tsc=reliable no_timer_check mitigations=off random.trust_cpu=on apparmor=0 audit=0 8250.nr_uarts=1$append"
		-fsdev local,id=hr,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=hr,mount_tag=hostroot)
	# waiting passes at once, instead of in real time
	[ -z "$icount" ] || qemu+=(-icount shift=0,sleep=off)
	[ -z "$bios" ] || qemu+=(-bios "$bios")
	[ -z "$pidfile" ] || qemu+=(-pidfile "$pidfile")
	for ((i = 0; i < ${#rws[@]}; i++)); do
		qemu+=(-fsdev "local,id=rw$i,path=${rws[i]},security_model=none,multidevs=remap" -device "virtio-9p-pci,fsdev=rw$i,mount_tag=rw$i")
	done
	# The command's output and status, and for pmem-cut and pmem-mce QEMU's own monitor
	qemu+=(-device virtio-serial-pci
		-chardev file,id=so,path=/proc/self/fd/8 -device virtserialport,chardev=so,name=stdout
		-chardev file,id=se,path=/proc/self/fd/9 -device virtserialport,chardev=se,name=stderr
		-chardev "file,id=st,path=$scratch/status" -device virtserialport,chardev=st,name=status
		-chardev "socket,id=ms,path=$scratch/monitor,server=on,wait=off" -mon chardev=ms,mode=readline
		-chardev "socket,id=mc,path=$scratch/monitor" -device virtserialport,chardev=mc,name=monitor)
	qemu+=(${qextra[@]+"${qextra[@]}"})
}

qemu_run() {
	local out err qs s
	qemu_arguments
	: >"$scratch/status"
	mkfifo "$scratch/o" "$scratch/e"
	cat <"$scratch/o" {leash}>&- & out=$!
	cat <"$scratch/e" >&2 {leash}>&- & err=$!
	# whoever kills this program with SIGKILL leaves no machine behind
	setpriv --pdeathsig KILL timeout -k 5 "$limit" setpriv --pdeathsig KILL "${qemu[@]}" \
		</dev/null 8>"$scratch/o" 9>"$scratch/e" >"$scratch/qemu.log" 2>&1 {leash}>&- &
	machine=$!
	wait "$machine"
	qs=$?
	machine=
	wait "$out" "$err"
	s=$(cat "$scratch/status")
	if [ -n "$verbose" ] || { [ -z "$s" ] && grep -q -e panic -e Oops "$scratch/console" 2>/dev/null; }; then cat "$scratch/console" >&2; fi
	[ ! -s "$scratch/qemu.log" ] || cat "$scratch/qemu.log" >&2
	[ -z "$pidfile" ] || rm -f "$pidfile"
	if [ "$qs" = 124 ]; then
		echo "$me: stopped after $limit s" >&2
		return 124
	fi
	[ -z "$s" ] || return "$s"
	[ "$qs" != 0 ] && [ "$qs" != 137 ] || return 137
	die "QEMU ended with status $qs"
}

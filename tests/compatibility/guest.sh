#!/bin/sh
# The first process of user-mode Linux, whose root is that of the machine. Runs the command of the file that is named
# by WORK, with what it writes beside it, and switches off.
mount -t proc proc /proc
mount -t sysfs sys /sys
# Sockets and file handles, which are not for files of the machine below.
mount -t tmpfs tmp /run
mkdir /run/work
ip link set lo up
mount -t devtmpfs dev /dev
# The kernel asks for modules too: for the ciphers of SMB, and the code page of vFAT.
printf '#!/bin/sh\nexec /sbin/modprobe --dirname "%s" "$@"\n' "$WORK" >"$WORK/modprobe"
chmod +x "$WORK/modprobe"
echo "$WORK/modprobe" >/proc/sys/kernel/modprobe
"$WORK/modprobe" loop
sh "$WORK/command" >"$WORK/output" 2>&1
echo o >/proc/sysrq-trigger
sleep 60

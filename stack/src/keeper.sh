# keeper HOME delete|keep
#
# Outlives the owner of a server by a moment: waits until the owner's end of the pipe on stdin is
# closed, ends every process whose working directory is inside HOME, then deletes HOME (or keeps it).
# Every server is started inside its home and stays there: Postgres' backends too, although each is
# the leader of a session of its own and changes parents when the postmaster dies.

trap '' INT TERM HUP QUIT
home=$1 fate=$2

while read -r _; do :; done

inside() {
    find /proc -mindepth 2 -maxdepth 2 -name cwd \( -lname "$home" -o -lname "$home/*" \) 2>/dev/null |
        while IFS=/ read -r _ _ pid _; do echo "$pid"; done
}

# SIGQUIT is Postgres' immediate shutdown: it releases the shared memory, which SIGKILL would leave
# behind. The JVM only dumps its threads.
pids=$(inside)
postmaster=$(head -n 1 "$home/data/postmaster.pid" 2>/dev/null)
if [ -n "$postmaster" ] && echo "$pids" | grep -qx "$postmaster"; then
    kill -CONT $pids 2>/dev/null
    kill -QUIT "$postmaster" 2>/dev/null
    tries=60
    while [ $tries -gt 0 ] && [ -n "$(inside)" ]; do
        sleep 0.05
        tries=$((tries - 1))
    done
fi

tries=200
pids=$(inside)
while [ $tries -gt 0 ] && [ -n "$pids" ]; do
    kill -KILL $pids 2>/dev/null
    sleep 0.05
    tries=$((tries - 1))
    pids=$(inside)
done

# The file that a killed postmaster leaves names its System V segment in line 7: "key id".
segment=$(sed -n '7s/.* //p' "$home/data/postmaster.pid" 2>/dev/null)
[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null

# Nobody is left to use them. Without any, the pattern stands for itself and is no file.
umount "$home"/disks/* 2>/dev/null

[ "$fate" = keep ] || rm -rf --one-file-system -- "$home"

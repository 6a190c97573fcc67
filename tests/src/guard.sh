# Keeps one server and its folder for the process at the other end of stdin.
#
# Usage: sh guard.sh FOLDER COMMAND...
# FOLDER is made as by mktemp -d and written to stdout; COMMAND is run in it. Each line of stdin is an
# order, which one line on stdout answers. When stdin ends, which it does however that process ends,
# the server is killed together with its children, and the folder removed.
set -u
# What ends the test process must not end this one before it has cleaned up.
trap '' HUP INT TERM PIPE

folder=$(mktemp -d "$1") || exit 1
shift
cd "$folder" || exit 1
exec 2>>log
echo "$folder"
server=

# Sends a signal to the server and its children, and writes the children's ids. The group of the
# server does not have them: each leads a session of its own.
signal_tree() {
    # A stopped server starts no more children.
    kill -s STOP "$server"
    for stat in /proc/[0-9]*/stat; do
        read -r line < "$stat" || continue
        # Behind the name, which may contain anything, are the state and the parent.
        line=${line##*) }
        line=${line#? }
        if [ "${line%% *}" = "$server" ]; then
            child=${stat#/proc/}
            child=${child%/stat}
            kill -s "$1" "$child"
            printf '%s ' "$child"
        fi
    done
    kill -s "$1" "$server"
}

while read -r order signal; do
    case $order in
    start)
        "$@" </dev/null >>log 2>&1 &
        server=$!
        echo "$server"
        ;;
    server)
        kill -s "$signal" "$server"
        echo
        ;;
    tree)
        signal_tree "$signal"
        echo
        ;;
    wait)
        wait "$server"
        server=
        echo
        ;;
    esac
done

if [ -n "$server" ]; then
    signal_tree KILL >/dev/null
    wait "$server"
fi
# The seventh line has the key and the id of the shared memory, which outlives a killed server.
if [ -f data/postmaster.pid ]; then
    ipcrm -m "$(sed -n '7s/.* //p' data/postmaster.pid)"
fi
cd /
# Until the killed have let go of their files.
tries=100
until rm -rf "$folder" 2>/dev/null || [ "$tries" = 0 ]; do
    tries=$((tries - 1))
    sleep 0.05
done

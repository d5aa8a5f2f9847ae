#!/bin/sh
# Installs what the tests with real systems need, on Debian as root; elsewhere says which tests will be skipped.
# Costs nothing when all is there. No package starts a daemon: the tests start their own.
set -eu

packages="
slurm-wlm slurmdbd slurm-wlm-mysql-plugin slurm-wlm-plugins munge mariadb-server
postgresql
chromium fonts-dejavu-core
openmpi-bin
libslurm-perl libslurmdb-perl libswitch-perl
gridengine-master gridengine-exec gridengine-client mailutils
environment-modules
procps openssl
"

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=""
    [ "$status" = installed ] || missing="$missing $package"
done

# Slurm's commands for Torque's users cannot be installed beside Grid Engine's: they are unpacked into a folder.
torque=/usr/local/lib/slurm-wlm-torque
unpack=""
[ -x "$torque/usr/bin/qsub" ] || unpack=" slurm-wlm-torque"
[ -n "$missing$unpack" ] || exit 0

if [ "$(id -u)" != 0 ] || ! [ -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    echo "Not root on Debian: tests that need slurm, torque, sge, postgres, browser, mpi or modules are skipped where this machine" \
        "lacks them; there, \`make test\` as root installs these Debian packages:$missing$unpack"
    exit 0
fi

# Maintainer scripts ask this file whether they may start a service; 101 means no.
guard=/usr/sbin/policy-rc.d
if ! [ -e "$guard" ]; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
fi

echo "Installing:$missing$unpack"
export DEBIAN_FRONTEND=noninteractive
wait_for_others="-o DPkg::Lock::Timeout=300"
# shellcheck disable=SC2086
if ! { apt-get $wait_for_others --quiet --quiet update &&
    apt-get $wait_for_others --quiet --quiet --yes --no-install-recommends install $missing >/dev/null; }; then
    echo "apt-get could not install them: tests that need them are skipped, or fail where DAGSTER_HPC_REQUIRE names them"
fi
if [ -n "$unpack" ]; then
    download=$(mktemp -d)
    if (cd "$download" && apt-get $wait_for_others --quiet --quiet download slurm-wlm-torque && dpkg -x ./*.deb "$torque"); then :; else
        echo "apt-get could not download slurm-wlm-torque: tests that need torque are skipped"
    fi
    rm -rf "$download"
fi

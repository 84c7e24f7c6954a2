#!/usr/bin/env bash
# Installs what is missing on Debian or Ubuntu for the named purposes: build, web, gen, unit, test, bench.
# Prints one line per step and nothing when all is there. Asks for nothing.
set -euo pipefail

declare -A packages=( # command or file that proves presence -> Debian package
  [gcc]=gcc [pkg-config]=pkg-config [/usr/include/opus/opus.h]=libopus-dev
  [/usr/include/opencore-amrnb/interf_enc.h]=libopencore-amrnb-dev [/usr/include/opencore-amrwb/dec_if.h]=libopencore-amrwb-dev
  [/usr/include/vo-amrwbenc/enc_if.h]=libvo-amrwbenc-dev
  [protoc]=protobuf-compiler [/usr/include/google/protobuf/empty.proto]=libprotobuf-dev
  [chromium]=chromium [kamailio]=kamailio [/usr/lib/x86_64-linux-gnu/kamailio/modules/presence_reginfo.so]=kamailio-presence-modules
  [/usr/lib/x86_64-linux-gnu/kamailio/modules/ims_dialog.so]=kamailio-ims-modules [/usr/lib/x86_64-linux-gnu/kamailio/modules/websocket.so]=kamailio-websocket-modules [/usr/lib/x86_64-linux-gnu/kamailio/modules/tls.so]=kamailio-tls-modules
  [baresip]=baresip-core [sipp]=sip-tester [rtpengine]=rtpengine-daemon [/var/lib/dpkg/info/libavcodec-extra:amd64.list]=libavcodec-extra [multimon-ng]=multimon-ng [ip]=iproute2 [nft]=nftables [espeak-ng]=espeak-ng [turnutils_uclient]=coturn
)
build="gcc pkg-config /usr/include/opus/opus.h /usr/include/opencore-amrnb/interf_enc.h /usr/include/opencore-amrwb/dec_if.h /usr/include/vo-amrwbenc/enc_if.h"
gen="protoc /usr/include/google/protobuf/empty.proto"
amr="/var/lib/dpkg/info/libavcodec-extra:amd64.list" # what rtpengine makes AMR and AMR-WB with, in the place of libavcodec
unit="chromium espeak-ng ip multimon-ng"
edge="kamailio /usr/lib/x86_64-linux-gnu/kamailio/modules/websocket.so /usr/lib/x86_64-linux-gnu/kamailio/modules/tls.so"
test="chromium $edge /usr/lib/x86_64-linux-gnu/kamailio/modules/presence_reginfo.so /usr/lib/x86_64-linux-gnu/kamailio/modules/ims_dialog.so baresip sipp rtpengine $amr multimon-ng ip nft turnutils_uclient espeak-ng"
bench="rtpengine $amr espeak-ng $edge"
web=""

missing=()
for purpose in "$@"; do
  for proof in ${!purpose}; do
    case $proof in
      /*) [ -e "$proof" ] || missing+=("${packages[$proof]}") ;;
      *) PATH="$PATH:/usr/sbin:/sbin" command -v "$proof" >/dev/null || missing+=("${packages[$proof]}") ;;
    esac
  done
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null && sudo="sudo -n"
fi
if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && ! $sudo true 2>/dev/null; }; then
  echo "missing: ${missing[*]}  - install these Debian packages (or their equals) and run the command again" >&2
  exit 1
fi
echo "installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# Services that the packages would start are not wanted: the tests start their own, on their own ports.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod +x $policy && made=1
fi
finish() { [ -z "$made" ] || $sudo rm -f $policy; rm -f "$log"; }
trap finish EXIT
install() { $sudo apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
install || { $sudo apt-get update -q >"$log" 2>&1 && install; } || { tail -n 20 "$log" >&2; exit 1; }

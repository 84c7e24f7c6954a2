// A browser's side of a call, as JsSIP and SIP.js do it: complete candidates, no trickle.
const pages = {};

async function gathered(pc) {
  if (pc.iceGatheringState === 'complete') return;
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, 1500);
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState === 'complete') {
        clearTimeout(timer);
        resolve();
      }
    });
  });
}

const tone = () => new AudioContext().createMediaStreamDestination().stream;

// open(config, kinds): kinds in the order of their m= lines, e.g. ['video', 'audio', 'data'].
globalThis.open_ = (config, kinds) => {
  const pc = new RTCPeerConnection(config);
  pages.pc = pc;
  for (const kind of kinds) globalThis.add(kind);
};

globalThis.add = (kind) => {
  if (kind === 'data') pages.pc.createDataChannel('x');
  else if (kind === 'audio') {
    const stream = tone();
    pages.pc.addTrack(stream.getAudioTracks()[0], stream);
  } else pages.pc.addTransceiver(kind);
};

const audios = () => pages.pc.getTransceivers().filter((t) => t.receiver.track.kind === 'audio' && t.currentDirection !== 'stopped' && t.mid !== null);

const audio = () => pages.pc.getTransceivers().find((t) => t.receiver.track.kind === 'audio');

globalThis.direct = (direction, line = 0) => {
  audios()[line].direction = direction;
};

// stop gives a line up: port 0 in the next offer.
globalThis.stop_ = (line) => audios()[line].stop();

globalThis.offer = async (options) => {
  const pc = pages.pc;
  await pc.setLocalDescription(await pc.createOffer(options));
  await gathered(pc);
  return pc.localDescription.sdp;
};

globalThis.accept = async (sdp) => {
  await pages.pc.setRemoteDescription({ type: 'answer', sdp });
  return state();
};

globalThis.rollback = () => pages.pc.setLocalDescription({ type: 'rollback' });

globalThis.take = async (sdp) => {
  const pc = pages.pc;
  await pc.setRemoteDescription({ type: 'offer', sdp });
  for (const t of pc.getTransceivers()) {
    if (t.receiver.track.kind === 'audio' && !t.sender.track && t.currentDirection === null) {
      const stream = tone();
      pc.addTrack(stream.getAudioTracks()[0], stream);
    }
  }
  await pc.setLocalDescription(await pc.createAnswer());
  await gathered(pc);
  return pc.localDescription.sdp;
};

globalThis.state = () => ({
  signaling: pages.pc.signalingState,
  direction: audio().currentDirection,
  codecs: audio().receiver.getParameters().codecs.map((c) => `${c.payloadType} ${c.mimeType.slice(6)}`),
  directions: audios().map((t) => t.currentDirection),
  lines: pages.pc.getTransceivers().length,
});

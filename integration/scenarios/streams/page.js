// Every connection of the page has a second audio track beside the one that its application adds, and what comes in each line is measured by itself.
(() => {
  const add = RTCPeerConnection.prototype.addTrack;
  RTCPeerConnection.prototype.addTrack = function (track, ...streams) {
    const sender = add.call(this, track, ...streams);
    if (window.several && track.kind === 'audio' && !this.second) {
      this.second = true;
      window.pc = this;
      window.second(window.several);
    }
    return sender;
  };

  // second adds a track with a sine.
  window.second = (hz) => {
    const ctx = new AudioContext();
    const sine = ctx.createOscillator();
    const level = ctx.createGain();
    const out = ctx.createMediaStreamDestination();
    sine.frequency.value = hz;
    level.gain.value = 0.3;
    sine.connect(level).connect(out);
    sine.start();
    add.call(window.pc, out.stream.getAudioTracks()[0], out.stream);
  };

  const meters = new Map();
  const meter = (track) => {
    let m = meters.get(track.id);
    if (!m) {
      const stream = new MediaStream([track]);
      const player = new Audio(); // without one Chromium decodes nothing
      player.muted = true;
      player.srcObject = stream;
      player.play();
      const ctx = new AudioContext();
      m = ctx.createAnalyser();
      m.fftSize = 4096;
      ctx.createMediaStreamSource(stream).connect(m);
      m.player = player;
      meters.set(track.id, m);
    }
    return m;
  };

  // lines is what each audio line hears and has had, by mid.
  window.lines = async () => {
    const out = [];
    for (const t of window.pc.getTransceivers()) {
      if (t.receiver.track.kind !== 'audio' || t.mid === null) continue;
      const m = meter(t.receiver.track);
      const bins = new Float32Array(m.frequencyBinCount);
      m.getFloatFrequencyData(bins);
      let peak = 2;
      for (let i = 2; i < bins.length; i++) if (bins[i] > bins[peak]) peak = i;
      let packets = 0;
      for (const s of (await t.receiver.getStats()).values()) if (s.type === 'inbound-rtp') packets = s.packetsReceived;
      out.push({
        mid: t.mid,
        direction: t.currentDirection ?? '',
        hz: bins[peak] > -60 ? (peak * m.context.sampleRate) / m.fftSize : 0,
        packets,
      });
    }
    return out;
  };
})();

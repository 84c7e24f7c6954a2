package signalling

// browserOffer is what a browser writes for audio, browserAnswer its answer to an offer with PCMA, coreSDP that of a SIP user either way.
const (
	browserSession = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS s0\r\n"

	browserTransport = "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:2093847 1 udp 2113937151 127.0.0.1 54321 typ host generation 0\r\n" +
		"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n" +
		"a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n"

	browserOffer = browserSession + "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n" + browserTransport + "a=setup:actpass\r\na=mid:0\r\n" +
		"a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\na=msid:s0 t0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n" +
		"a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n" +
		"a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n" +
		"a=rtpmap:126 telephone-event/8000\r\na=ssrc:2570980487 cname:9v4Qf2\r\na=ssrc:2570980487 msid:s0 t0\r\n"

	browserAnswer = browserSession + "m=audio 9 UDP/TLS/RTP/SAVPF 8\r\n" + browserTransport + "a=setup:active\r\na=mid:0\r\na=sendrecv\r\n" +
		"a=msid:s0 t0\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\na=ssrc:2570980487 cname:9v4Qf2\r\n"

	coreSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\na=ptime:20\r\n"
)

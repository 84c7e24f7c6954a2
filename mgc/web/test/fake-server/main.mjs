// `npm run fake`: the stand-in gateway on http://localhost:8089/ until Ctrl-C.
import { startFake } from './server.mjs';

const fake = await startFake({ port: Number(process.env.PORT ?? 8089) });
console.log(`phone at ${fake.url} (needs npm run build first)`);
process.on('SIGINT', () => void fake.close().then(() => process.exit(0)));

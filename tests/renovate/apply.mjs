// Changes files as Renovate does in its branches: `--platform=local` only looks up.
// Arguments: Renovate's folder, its report, the folder to change.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [renovate, report, localDir] = process.argv.slice(2);
const { GlobalConfig } = await import(join(renovate, "dist/config/global.js"));
const { doAutoReplace } = await import(join(renovate, "dist/workers/repository/update/branch/auto-replace.js"));

GlobalConfig.set({ localDir });
const { regex } = JSON.parse(readFileSync(report)).repositories.local.packageFiles;
for (const file of regex) {
    for (const [depIndex, dep] of file.deps.entries()) {
        for (const update of dep.updates) {
            const content = readFileSync(join(localDir, file.packageFile), "utf8");
            await doAutoReplace({ ...file, ...dep, ...update, manager: "regex", depIndex }, content, false);
        }
    }
}

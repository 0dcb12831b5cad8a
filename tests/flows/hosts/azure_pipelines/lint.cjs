// Lints Azure Pipelines files with the language service of Microsoft's editor extension.
// Usage: node lint.cjs MODULES SCHEMA FILE...   Prints each problem, and exits with 1 when there is one.
const [modules, schemaPath, ...files] = process.argv.slice(2);
const fs = require("fs");
const path = require("path");
console.log = () => {}; // the service talks while it works
const load = (name) => require(path.join(modules, name));

const { getLanguageService } = load("azure-pipelines-language-service");
const parser = load("azure-pipelines-language-service/lib/parser/yamlParser");
const { TextDocument } = load("vscode-languageserver-textdocument");

const schema = JSON.parse(fs.readFileSync(schemaPath, "utf8"));
// The schema lists this task's name and leaves out its inputs; these are those of the task's page.
schema.definitions.task.anyOf.push({
  properties: {
    task: { pattern: "^PublishCodeCoverageResults@2$" },
    inputs: {
      properties: {
        summaryFileLocation: { type: "string" },
        pathToSources: { type: "string" },
        failIfCoverageEmpty: { type: "boolean" },
      },
      additionalProperties: false,
      required: ["summaryFileLocation"],
    },
  },
  required: ["task", "inputs"],
});
// A file of variables is no pipeline, and has a definition of its own.
const variables = { $ref: "#/definitions/variablesTemplate", definitions: schema.definitions };
const schemaOf = (text) => (/^(stages|jobs|steps|extends):/m.test(text) ? schema : variables);

(async () => {
  let problems = 0;
  for (const file of files) {
    const text = fs.readFileSync(file, "utf8");
    const uri = "file://" + file + ".schema";
    const service = getLanguageService(async () => schemaOf(text), [], async () => uri, {
      resolveRelativePath: (base) => base,
    });
    service.configure({ validate: true, schemas: [{ uri, fileMatch: ["*"], schema: schemaOf(text) }] });
    const document = TextDocument.create("file://" + file, "azure-pipelines", 1, text);
    for (const problem of await service.doValidation(document, parser.parse(text))) {
      problems += 1;
      process.stdout.write(`${file}:${problem.range.start.line + 1}: ${problem.message}\n`);
    }
  }
  process.exit(problems ? 1 : 0);
})();

/** How many files the operating system lets this process have open: connections count too. */

/** The limit; null where it is not known, or there is none. */
export function openFilesMax(): number | null {
  // Newer than the types of Node that the build uses.
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  const before = report.excludeNetwork ?? false;
  // Without this the report looks up the names of all network addresses, which may take seconds.
  report.excludeNetwork = true;
  try {
    const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
    const soft = userLimits?.open_files?.soft;
    return typeof soft === "number" ? soft : null;
  } catch {
    return null;
  } finally {
    report.excludeNetwork = before;
  }
}

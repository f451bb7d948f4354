"""Derive the correlations of the cosmological parameter tables.

The tables of `cmbml.pipelines.simulation.cosmology` take means and errors from
the papers, which do not print correlations. Those come from the parameter
covariances that the Planck collaboration published with CosmoMC (folder
`planck_covmats`) and with Cobaya (repository `planck_supp_data_and_covmats`):

- base_WMAP: nine-year WMAP likelihood alone, LCDM, chains of the Planck 2013 release;
- base_TTTEEE_lensing_lowE_lowl_plikHM: Planck 2018 TT,TE,EE+lowE+lensing;
- base_plikHM_TTTEEE_lowl_lowE_lensing_post_BAO: the same with BAO.

Their parameters are omegabh2, omegach2, 100 theta_MC, tau, ln(10^10 A_s) at the
pivot 0.05 / Mpc, and n_s. Two linear steps lead to the parameters of the tables:

- H0 replaces theta_MC, by the derivatives of theta_MC from CAMB at the mean;
- A_s moves to the pivot k0: ln A_s(k0) = ln A_s(0.05) + (n_s - 1) ln(k0 / 0.05).

Run `python docs/derivations/cosmology_correlations.py`; it prints, per table, the
errors that follow beside those of the paper, and the correlations. A test compares
the correlations kept in the code with these.
"""

import camb
import numpy as np

from cmbml.pipelines.simulation.cosmology import TABLES, ParameterTable

COVARIANCES = {
    "wmap9": [
        [2.3910936e-07, -6.1984313e-07, 6.4097173e-07, 2.2430710e-06, 4.7461784e-06, 5.0950403e-06],
        [-6.1984313e-07, 2.0261765e-05, -7.3699178e-07, -1.5591198e-05, 3.5181179e-05, -2.6687327e-05],
        [6.4097173e-07, -7.3699178e-07, 4.8274036e-06, 5.0172396e-06, 1.6035641e-05, 1.3963850e-05],
        [2.2430710e-06, -1.5591198e-05, 5.0172396e-06, 1.9059964e-04, 3.5146506e-04, 7.0992549e-05],
        [4.7461784e-06, 3.5181179e-05, 1.6035641e-05, 3.5146506e-04, 9.1459203e-04, 1.1992039e-04],
        [5.0950403e-06, -2.6687327e-05, 1.3963850e-05, 7.0992549e-05, 1.1992039e-04, 1.5738146e-04],
    ],
    "planck2018": [
        [2.1238517e-08, -9.0296572e-08, 1.7632299e-08, 2.9612764e-07, 4.9722174e-07, 2.3773256e-07],
        [-9.0296572e-08, 1.3879427e-06, -1.2602979e-07, -3.4095486e-06, -4.1497946e-06, -3.2764275e-06],
        [1.7632299e-08, -1.2602979e-07, 9.7141363e-08, 4.2964594e-07, 7.4069991e-07, 4.1269392e-07],
        [2.9612764e-07, -3.4095486e-06, 4.2964594e-07, 5.3343291e-05, 9.5353554e-05, 1.0510708e-05],
        [4.9722174e-07, -4.1497946e-06, 7.4069991e-07, 9.5353554e-05, 2.0012580e-04, 1.3511066e-05],
        [2.3773256e-07, -3.2764275e-06, 4.1269392e-07, 1.0510708e-05, 1.3511066e-05, 1.7251624e-05],
    ],
    "planck2018_bao": [
        [1.8259383e-08, -4.9452862e-08, 1.1363663e-08, 1.8051082e-07, 3.3472141e-07, 1.3359350e-07],
        [-4.9452862e-08, 8.3384991e-07, -5.0175067e-08, -1.9209722e-06, -2.1282794e-06, -1.9412337e-06],
        [1.1363663e-08, -5.0175067e-08, 8.5677597e-08, 2.2499557e-07, 4.5210639e-07, 2.0928688e-07],
        [1.8051082e-07, -1.9209722e-06, 2.2499557e-07, 5.0196921e-05, 9.1926469e-05, 6.8814113e-06],
        [3.3472141e-07, -2.1282794e-06, 4.5210639e-07, 9.1926469e-05, 1.9787144e-04, 8.1080876e-06],
        [1.3359350e-07, -1.9412337e-06, 2.0928688e-07, 6.8814113e-06, 8.1080876e-06, 1.4266360e-05],
    ],
}
"""Published covariances of (ombh2, omch2, 100 theta_MC, tau, ln 10^10 A_s, n_s)."""

COVARIANCE_PIVOT = 0.05
"""Pivot of the covariances' A_s in 1/Mpc."""


def theta(values: np.ndarray, mnu: float) -> float:
    """Return 100 theta_MC of (ombh2, omch2, H0)."""
    ombh2, omch2, hubble = values
    parameters = camb.set_params(ombh2=ombh2, omch2=omch2, H0=hubble, mnu=mnu, omk=0)
    return 100 * camb.get_background(parameters).cosmomc_theta()


def derivatives_of_theta(table: ParameterTable) -> np.ndarray:
    """Return the derivatives of 100 theta_MC by ombh2, omch2, H0 at the mean of a table."""
    mean = np.array([table.mean[table.names.index(name)] for name in ("ombh2", "omch2", "H0")])
    derivatives = []
    for step in 1e-3 * np.diag(mean):
        change = theta(mean + step, table.mnu) - theta(mean - step, table.mnu)
        derivatives.append(change / (2 * step.sum()))
    return np.array(derivatives)


def transformation(table: ParameterTable) -> np.ndarray:
    """Return the matrix from the covariance's parameters to (ombh2, omch2, H0, tau, As / <As>, ns)."""
    by_ombh2, by_omch2, by_hubble = derivatives_of_theta(table)
    matrix = np.eye(6)
    matrix[2, :3] = -by_ombh2 / by_hubble, -by_omch2 / by_hubble, 1 / by_hubble
    matrix[4, 5] = np.log(table.pivot / COVARIANCE_PIVOT)
    return matrix


def derived(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors and the correlations of a table, both in the order of its names."""
    table = TABLES[name]
    matrix = transformation(table)
    covariance = matrix @ np.array(COVARIANCES[name]) @ matrix.T
    order = [("ombh2", "omch2", "H0", "tau", "As", "ns").index(parameter) for parameter in table.names]
    covariance = covariance[np.ix_(order, order)]
    sigma = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sigma, sigma)
    sigma[table.names.index("As")] *= table.mean[table.names.index("As")]
    return sigma, correlation


def main() -> None:
    """Print errors and correlations of every table."""
    for name, table in TABLES.items():
        sigma, correlation = derived(name)
        print(f"{name}: {table.source}")
        for parameter, ours, published in zip(table.names, sigma, table.sigma, strict=True):
            print(f"  {parameter:6s} error {ours:.3g}, published {published:.3g}")
        for row in correlation:
            print("  (" + ", ".join(f"{value:.4f}" for value in row) + "),")


if __name__ == "__main__":
    main()

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.pyilc import covariance as C, weights as W
from cmbml.pipelines.pyilc.needlets import *
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import *

Array = NDArray[Any]
IT={"reference":3,"fast":1}
ITF={"reference":3,"fast":1}

def proto(maps, beams, s, mode, timing=None, fwhm=None):
    import time
    t=time.perf_counter()
    def tick(n):
        nonlocal t
        if timing is not None:
            timing[n]=timing.get(n,0)+time.perf_counter()-t
        t=time.perf_counter()
    lmax=s["lmax"]; nside=s["nside"]
    filters=cosine_needlets(s["peaks"],lmax)
    taper=taper_window(s["taper_width"],lmax)
    scales=plan_scales(filters,beams,nside=nside,beam_criterion=s["beam_criterion"],bias_tolerance=s["bias_tolerance"])
    tick('plan')
    alm=analyse(maps,lmax,iterations=IT[mode]); tick('analyse')
    W.CHECK = mode=='fast'
    out=0; ws=[]
    common=beam_window(s["fwhm_arcmin"]*ARCMIN,lmax)
    for sc in scales:
        win=np.where(sc.window>0, sc.window*taper*common/beams[sc.channels],0)
        top=np.flatnonzero(sc.window)[-1]
        if mode=="fast":
            a=filter_alm(change_lmax(alm[sc.channels],top),win[:,:top+1])
        else: a=filter_alm(alm[sc.channels],win)
        tick('filter')
        c=synthesise(a,sc.nside); tick('synth')
        F=sc.covariance_fwhm if fwhm is None else fwhm[sc.index]
        if mode=="fast":
            cov=C.coarse_covariance(c,F); tick('cov')
            w=W.ilc_weights(cov,np.ones(len(c))); tick('solve')
            w=W.refine_weights(w,sc.nside); tick('refine')
        else:
            cov=C.local_covariance(c,F); w=W.ilc_weights(cov,np.ones(len(c)))
        m=np.einsum('ap,ap->p',w,c); tick('sum')
        L=min(lmax,3*sc.nside-1)
        if mode=="fast": L=min(L,top)
        b=filter_alm(analyse(m[None],L,iterations=ITF[mode]),sc.window[:L+1]); tick('ana2')
        out=out+change_lmax(b,lmax); ws.append(w); tick('final')
    r=synthesise(out,nside); tick('final')
    return r,ws,scales
